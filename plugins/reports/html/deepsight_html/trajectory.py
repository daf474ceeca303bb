"""A quantity along the tokens of a text: the line with its peaks, and below it the text, shaded by the quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from deepsight_core.figures import Trajectory
from deepsight_core.profiles import Point, Series
from deepsight_html.figures import HEIGHT, WIDE, WIDTH, Curve, curve, spoken
from deepsight_html.numbers import Numbers, numbers
from deepsight_html.samples import Pointer
from deepsight_html.scales import Scale, Tick, domain, ticks
from deepsight_html.text import number, seen, span

LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 16.0, 40.0
LEVELS = 20
"""Steps of the page's shades, from nothing to full."""
SHORT = 60
"""Values that fit into a figure of half the page."""
MOST_DOTS = 400
"""Above this many values the line has no dots: they would hide it."""
MOST_TOKENS = 3000


@dataclass(frozen=True)
class Token:
    text: str
    """With white space made visible where it would otherwise not be seen."""
    level: int
    mark: bool
    label: str


@dataclass(frozen=True)
class Track:
    kind: ClassVar[str] = "trajectory"
    title: str
    caption: str
    description: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_name: str
    y_name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curve: Curve
    dotted: bool
    marks: tuple[tuple[float, float, str], ...]
    """x, y and label of each peak."""
    tokens: tuple[Token, ...]
    more: int
    """Tokens that are not shown."""
    veiled: bool
    """Whether the text is hidden until it is asked for."""
    sample: str
    row: int | None
    """Id of the sample whose text it is, and where in the table of samples it stands; empty and None without one."""
    numbers: Numbers


def track(figure: Trajectory, pointer: Pointer | None = None, veiled: bool = False) -> Track:
    """Coordinates of the line, its band and its marks, and how strongly each token is shaded. `pointer` is what
    is known of the sample whose text it is; `veiled` says whether the text is hidden where nothing is."""
    values, count = figure.values, len(figure.values)
    lows, highs = figure.low or (None,) * count, figure.high or (None,) * count
    points = zip(values, lows, highs, strict=True)
    series = Series(figure.name, tuple(Point(place, *numbers) for place, numbers in enumerate(points)))
    width = WIDE if count > SHORT else WIDTH
    across = Scale(0.0, max(1.0, count - 1.0), LEFT, width - RIGHT)
    up = Scale(*domain((*values, *lows, *highs)), HEIGHT - BOTTOM, TOP)
    labels = _labels(figure)
    levels = _levels(values)
    return Track(
        title=figure.name,
        caption=figure.caption,
        description=_described(series, figure.marks),
        width=width,
        height=HEIGHT,
        left=LEFT,
        right=width - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x_name=figure.x or "token",
        y_name=figure.y,
        x_ticks=ticks(across, whole=True, most=12 if count > SHORT else 8),
        y_ticks=ticks(up),
        curve=curve(series, across, up, "token"),
        dotted=count <= MOST_DOTS,
        marks=tuple(
            (across(place), up(value), labels[place]) for place in figure.marks if (value := values[place]) is not None
        ),
        tokens=tuple(
            Token(seen(word), levels[place], place in set(figure.marks), labels[place])
            for place, word in enumerate(figure.words[:MOST_TOKENS])
        ),
        more=max(0, len(figure.words) - MOST_TOKENS),
        veiled=bool(figure.words) and (pointer.harmful if pointer else veiled),
        sample=figure.id,
        row=pointer.row if pointer else None,
        numbers=_numbers(figure),
    )


def _numbers(figure: Trajectory) -> Numbers:
    """Token, its text, value, band, and whether it is a peak; no column for what the figure does not have."""
    places = range(len(figure.values))
    columns: dict[str, Sequence[str]] = {"Token": [str(place) for place in places]}
    if figure.words:
        columns["Text"] = [seen(word) for word in figure.words]
    columns[figure.y or "Value"] = [number(value) for value in figure.values]
    if figure.low and figure.high:
        columns["Band"] = [span(*ends) for ends in zip(figure.low, figure.high, strict=True)]
    if figure.marks:
        columns["Peak"] = ["peak" if place in figure.marks else "" for place in places]
    return numbers(tuple(columns), zip(*columns.values(), strict=True), len(places))


def _labels(figure: Trajectory) -> list[str]:
    words = [f" “{seen(word)}”" for word in figure.words] or [""] * len(figure.values)
    pairs = enumerate(zip(words, figure.values, strict=True))
    return [f"token {place}{word}: {number(value)}" for place, (word, value) in pairs]


def _levels(values: Sequence[float | None]) -> list[int]:
    """Shade of each token: none up to the median of the text, full at its highest value."""
    known = [value for value in values if value is not None]
    if not known or max(known) <= (middle := median(known)):
        return [0] * len(values)
    top = max(known)
    return [0 if v is None else max(0, round(LEVELS * (v - middle) / (top - middle))) for v in values]


def _described(series: Series, marks: Sequence[int]) -> str:
    peaks = f"; peaks at tokens {', '.join(map(str, marks[:20]))}" if marks else ""
    more = f" and {len(marks) - 20} more" if len(marks) > 20 else ""
    return f"{spoken(series, 'token')}{peaks}{more}"
