"""A quantity over two things: a cell for each pair, shaded in even steps of lightness, with the scale beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deepsight_core.display import finite
from deepsight_core.figures import Heatmap
from deepsight_html.figures import WIDE, WIDTH
from deepsight_html.numbers import Numbers, numbers
from deepsight_html.scales import Scale, Tick, ticks
from deepsight_html.text import number, seen

LEVELS = 20
"""Steps of shade on a side: the page's style has as many."""
LETTER = 6.4
"""Width of a letter of a label, in user units, on average."""
TOP, BAR, BAR_ROOM = 8.0, 12.0, 74.0
OVERLAP = 0.4
"""A cell reaches that far under the next: where edges fall between pixels, no seam is seen."""
MOST_ALIVE = 3000
"""Cells that answer to the pointer; of a larger map the rest are only seen."""
MOST_NUMBERS = 3000
NARROW = 24
"""Columns that fit into a figure of half the page."""


@dataclass(frozen=True)
class Shade:
    """A side of the scale (above or below its centre) and a step on it."""

    side: str
    level: int


@dataclass(frozen=True)
class Square:
    x: float
    y: float
    shade: Shade
    label: str


@dataclass(frozen=True)
class Bar:
    """The colour bar: (y, height, shade) of each step, and numbers beside them."""

    x: float
    width: float
    steps: tuple[tuple[float, float, Shade], ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Map:
    kind: ClassVar[str] = "heatmap"
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
    unit: str
    cell_width: float
    cell_height: float
    squares: tuple[Square, ...]
    silent: tuple[tuple[Shade, str], ...]
    """Cells of a large map, one path for each shade."""
    unknown: str
    """SVG path data: a stroke through each cell without a value."""
    row_labels: tuple[Tick, ...]
    column_labels: tuple[Tick, ...]
    upright: bool
    """Whether column labels stand on end."""
    bar: Bar
    numbers: Numbers | None
    """None for a map of more numbers than a table can show."""


def heatmap(figure: Heatmap) -> Map:
    """Places and shades of all cells. Labels are thinned where they would run into each other."""
    rows, columns = len(figure.rows), len(figure.columns)
    width = WIDE if columns > NARROW else WIDTH
    left = min(150.0, 26.0 + LETTER * max((len(name) for name in figure.rows), default=0))
    right = width - BAR_ROOM
    cell_width = (right - left) / max(1, columns)
    cell_height = min(22.0, max(5.0, 420.0 / max(1, rows)))
    bottom = TOP + cell_height * rows
    longest = max((len(name) for name in figure.columns), default=0)
    upright = longest * LETTER > cell_width and longest > 3
    room = min(90.0, LETTER * longest) if upright else 12.0
    scale = _scale(figure)
    cells = list(_cells(figure, scale, left, cell_width, cell_height))
    alive = rows * columns <= MOST_ALIVE
    return Map(
        title=figure.name,
        caption=figure.caption,
        description=_spoken(figure),
        width=width,
        height=bottom + room + 30.0,
        left=left,
        right=right,
        top=TOP,
        bottom=bottom,
        x_name=figure.x,
        y_name=figure.y,
        unit=figure.unit,
        cell_width=round(cell_width + OVERLAP, 2),
        cell_height=round(cell_height + OVERLAP, 2),
        squares=tuple(cells) if alive else (),
        silent=() if alive else _merged(cells, cell_width + OVERLAP, cell_height + OVERLAP),
        unknown="".join(
            f"M{left + column * cell_width:.4g} {TOP + (row + 1) * cell_height:.4g}l{cell_width:.3g} {-cell_height:.3g}"
            for row, values in enumerate(figure.values)
            for column, value in enumerate(values)
            if value is None
        ),
        row_labels=_thinned(figure.rows, TOP, cell_height, 12.0),
        column_labels=_thinned(figure.columns, left, cell_width, 13.0 if upright else LETTER * (longest + 1.5)),
        upright=upright,
        bar=_bar(scale, right + 16.0, max(bottom, TOP + 90.0)),
        numbers=_numbers(figure) if rows * columns <= MOST_NUMBERS else None,
    )


def shade(value: float, low: float, high: float, centre: float | None) -> Shade:
    """The step of the scale low..high that a value falls on; with a centre, steps are counted from there."""
    if centre is None:
        share = (value - low) / (high - low) if high > low else 0.5
        return Shade("more", round(LEVELS * share))
    reach = max(high - centre, centre - low)
    share = (value - centre) / reach if reach > 0 else 0.0
    return Shade("less" if share < 0 else "more", round(LEVELS * abs(share)))


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    centre: float | None

    def __call__(self, value: float) -> Shade:
        return shade(value, self.low, self.high, self.centre)


def _scale(figure: Heatmap) -> _Range:
    """From the lowest to the highest value; with a centre as far on either side."""
    known = [value for row in figure.values for value in row if finite(value) is not None and value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    if figure.centre is None:
        return _Range(low, high, None)
    reach = max(high - figure.centre, figure.centre - low)
    return _Range(figure.centre - reach, figure.centre + reach, figure.centre)


def _cells(figure: Heatmap, scale: _Range, left: float, width: float, height: float) -> Iterator[Square]:
    unit = f" {figure.unit}" if figure.unit else ""
    for row, (row_name, values) in enumerate(zip(figure.rows, figure.values, strict=True)):
        for column, (column_name, value) in enumerate(zip(figure.columns, values, strict=True)):
            if value is not None:
                x, y = round(left + column * width, 2), round(TOP + row * height, 2)
                yield Square(x, y, scale(value), f"{row_name}, {column_name}: {number(value)}{unit}")


def _merged(cells: Sequence[Square], width: float, height: float) -> tuple[tuple[Shade, str], ...]:
    paths: dict[Shade, list[str]] = {}
    for cell in cells:
        paths.setdefault(cell.shade, []).append(f"M{cell.x:g} {cell.y:g}h{width:.4g}v{height:.4g}h-{width:.4g}z")
    return tuple((shade, "".join(parts)) for shade, parts in paths.items())


def _thinned(names: Sequence[str], start: float, size: float, room: float) -> tuple[Tick, ...]:
    """Every name, or every second, fifth, tenth ... where that is what there is room for."""
    every = next((n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if n * size >= room), 2000)
    return tuple(
        Tick(round(start + (place + 0.5) * size, 2), seen(name).strip())
        for place, name in enumerate(names)
        if place % every == 0
    )


def _bar(scale: _Range, x: float, bottom: float) -> Bar:
    up = Scale(scale.low, scale.high, bottom, TOP)
    count = LEVELS + 1 if scale.centre is None else 2 * LEVELS + 1
    height = (bottom - TOP) / count
    steps = tuple(
        (
            round(bottom - (place + 1) * height, 2),
            round(height + OVERLAP, 2),
            scale(scale.low + (scale.high - scale.low) * place / (count - 1)),
        )
        for place in range(count)
    )
    return Bar(x, BAR, steps, ticks(up))


def _numbers(figure: Heatmap) -> Numbers:
    rows = ((name, *map(number, values)) for name, values in zip(figure.rows, figure.values, strict=True))
    return numbers((figure.y, *figure.columns), rows, len(figure.rows))


def _spoken(figure: Heatmap) -> str:
    """What a reader who does not see the figure must know of it: its size and its extremes."""
    known = [
        (value, row, column)
        for row, values in enumerate(figure.values)
        for column, value in enumerate(values)
        if value is not None
    ]
    size = f"{len(figure.rows)} rows of {len(figure.columns)} columns"
    if not known:
        return f"{size}, no values"
    (low, *at_low), (high, *at_high) = min(known), max(known)
    missing = len(figure.rows) * len(figure.columns) - len(known)
    gaps = f", {missing} cells without a value" if missing else ""
    return (
        f"{size}{gaps}; lowest {number(low)} at {figure.rows[at_low[0]]}, {figure.columns[at_low[1]]}; "
        f"highest {number(high)} at {figure.rows[at_high[0]]}, {figure.columns[at_high[1]]}"
    )
