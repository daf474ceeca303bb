"""Figures as plain data: every coordinate is computed here, the templates only write it down as SVG.

A missing value is a gap, never a zero; nothing here returns a coordinate that is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from deepsight_core.display import finite
from deepsight_core.profiles import Point, Reference, Series
from deepsight_html.scales import Scale, Span, Tick, domain, ticks
from deepsight_html.text import number, span

WIDTH = 460.0
"""User units of a panel's view box; at its full display size a unit is a CSS pixel."""
HEIGHT = 230.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 12.0, 36.0
WIDE = 940.0
"""The same of a figure that has a row of the page for itself."""
GUTTER = 8.0
"""Room at the right edge for the interval of each reference line."""
ROW = 26.0
"""Height of one row of a swarm."""


# --- One measurement: dot, interval, bounds ---------------------------------------------------


@dataclass(frozen=True)
class Strip:
    """Positions along a row in per cent of its width."""

    dot: float | None
    interval: Span | None
    bounds: Span | None


def strip_scale(values: Iterable[float | None]) -> Scale:
    """The axis that a table's strips share: 0 to 1 where everything fits, round numbers around the values elsewhere."""
    low, high = domain(values)
    return Scale(0.0, 1.0, 3.0, 97.0) if low >= 0 and high <= 1 else Scale(low, high, 3.0, 97.0)


def strip(
    scale: Scale,
    value: float | None,
    interval: tuple[float | None, float | None],
    bounds: tuple[float | None, float | None],
) -> Strip:
    return Strip(scale.maybe(value), scale.span(*interval), scale.span(*bounds))


# --- A quantity over layers -------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    label: str
    headline: bool = False


@dataclass(frozen=True)
class Curve:
    name: str
    style: int
    line: str
    """SVG path data, a new sub-path after each gap."""
    band: str
    whiskers: tuple[tuple[float, float, float], ...]
    """(x, y, y) of intervals that have no neighbour to form a band with."""
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Rule:
    name: str
    style: int
    y: float
    x: float
    """Where in the gutter its interval stands."""
    interval: Span | None
    label: str


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    null: str
    null_whiskers: tuple[tuple[float, float, float], ...]
    null_of: str
    """The series that the null band belongs to; empty when there is none."""
    curves: tuple[Curve, ...]
    rules: tuple[Rule, ...]


def panel(title: str, series: Sequence[Series], references: Sequence[Reference], y: Span, layers: Span) -> Panel:
    """A layer profile: lines with 95 % bands, the null band of the first series that has one, reference lines.

    `y` and `layers` are the domains, given so that neighbouring panels can share them.
    """
    right = WIDTH - RIGHT - GUTTER * len(references)
    across = Scale(layers[0], layers[1], LEFT, right)
    up = Scale(y[0], y[1], HEIGHT - BOTTOM, TOP)
    nulls = ((one.name, _band(one, across, up, lambda p: (p.null_low, p.null_high))) for one in series)
    null_of, (null, null_whiskers) = next((item for item in nulls if any(item[1])), ("", ("", ())))
    return Panel(
        title=title,
        description="; ".join(spoken(one) for one in series),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=right,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x_ticks=ticks(across, whole=True, most=8),
        y_ticks=ticks(up),
        null=null,
        null_whiskers=null_whiskers,
        null_of=null_of,
        curves=tuple(curve(one, across, up) for one in series),
        rules=tuple(
            Rule(
                reference.name,
                reference.style,
                up(reference.value),
                right + GUTTER * (place + 1),
                up.span(reference.low, reference.high),
                _label(reference.value, reference.low, reference.high),
            )
            for place, reference in enumerate(references)
        ),
    )


def curve(series: Series, across: Scale, up: Scale, step: str = "layer") -> Curve:
    """The line of a series with its band and its dots; `step` is what one step to the right is called."""
    runs = _runs(series.points, lambda point: finite(point.value) is not None)
    drawn = "".join(_path([(across(point.layer), up(point.value or 0.0)) for point in run]) for run in runs)
    band, whiskers = _band(series, across, up, lambda point: (point.low, point.high))
    dots = tuple(
        Dot(
            across(point.layer),
            up(point.value),
            f"{series.name}, {step} {point.layer}: {_label(point.value, point.low, point.high)}",
            point.headline,
        )
        for point in series.points
        if point.value is not None and finite(point.value) is not None
    )
    return Curve(series.name, series.style, drawn, band, whiskers, dots)


def _band(
    series: Series, across: Scale, up: Scale, ends: Callable[[Point], tuple[float | None, float | None]]
) -> tuple[str, tuple[tuple[float, float, float], ...]]:
    """Closed path around each run of known intervals, and a whisker for each interval that stands alone."""
    outlines, whiskers = "", []
    for run in _runs(series.points, lambda point: up.span(*ends(point)) is not None):
        spans = [(across(point.layer), found) for point in run if (found := up.span(*ends(point))) is not None]
        if len(spans) == 1:
            x, (upper, lower) = spans[0]
            whiskers.append((x, upper, lower))
        else:
            outline = [(x, upper) for x, (upper, _) in spans] + [(x, lower) for x, (_, lower) in reversed(spans)]
            outlines += _path(outline) + "Z"
    return outlines, tuple(whiskers)


def _runs(points: Sequence[Point], known: Callable[[Point], bool]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in points:
        if known(point):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _label(value: float | None, low: float | None, high: float | None) -> str:
    interval = span(low, high) if finite(low) is not None and finite(high) is not None else ""
    return f"{number(value)} {interval}".strip()


def spoken(series: Series, step: str = "layer") -> str:
    """What a reader who does not see the figure must know of it."""
    known = [(value, point.layer) for point in series.points if (value := finite(point.value)) is not None]
    if not known:
        return f"{series.name}: no values"
    (low, at_low), (high, at_high) = min(known), max(known)
    missing = len(series.points) - len(known)
    gaps = f", {missing} without a value" if missing else ""
    return (
        f"{series.name}: {len(known)} {step}s from {known[0][1]} to {known[-1][1]}{gaps}, "
        f"lowest {number(low)} at {step} {at_low}, highest {number(high)} at {step} {at_high}"
    )


# --- Internal scores by verdict ----------------------------------------------------------------


@dataclass(frozen=True)
class SwarmRow:
    label: str
    count: int
    dots: str
    """SVG path data: one zero-length stroke for each sample, to be drawn with round caps."""
    median: float
    y: float


@dataclass(frozen=True)
class Swarm:
    title: str
    description: str
    width: float
    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    rows: tuple[SwarmRow, ...]


def swarm(title: str, groups: Sequence[tuple[str, Sequence[float]]]) -> Swarm:
    """Every sample's score as a dot, one row for each group of samples, with the group's median.

    Values must be finite and groups not empty. The vertical jitter only separates dots, and is the same every time.
    """
    left, right = 158.0, WIDTH - RIGHT
    scale = Scale(*domain(value for _, values in groups for value in values), left, right)
    rows = []
    for place, (label, values) in enumerate(groups):
        y = TOP + ROW * (place + 0.5)
        dots = "".join(
            f"M{scale(value):g} {y + ((index * 0.618034 + 0.5) % 1 - 0.5) * ROW * 0.55:.1f}h0"
            for index, value in enumerate(values)
        )
        rows.append(SwarmRow(label, len(values), dots, scale(median(values)), y))
    bottom = TOP + ROW * len(groups)
    return Swarm(
        title=title,
        description="; ".join(
            f"{label}: {len(values)} samples, median {number(median(values))}" for label, values in groups
        ),
        width=WIDTH,
        height=bottom + TOP + ROW / 2,
        left=left,
        right=right,
        bottom=bottom,
        x_ticks=ticks(scale),
        rows=tuple(rows),
    )
