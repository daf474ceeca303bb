"""Samples in a plane: colour says which cohort a sample belongs to, shape how its answer was judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from deepsight_core.display import legend, ranked
from deepsight_core.figures import Dot, Scatter
from deepsight_html.numbers import Numbers, numbers
from deepsight_html.samples import Pointer
from deepsight_html.scales import Scale, Tick, domain, ticks
from deepsight_html.text import number

WIDTH, HEIGHT = 460.0, 350.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 14.0, 12.0, 42.0
COLOURS = 5
SHAPES = (
    "m-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z",
    "m0-4.4l4.2 7.3h-8.4z",
    "m-3.1-3.1h6.2v6.2h-6.2z",
    "m0-4.6l4.6 4.6l-4.6 4.6l-4.6-4.6z",
    "m-4 0h8m-4-4v8",
)
"""Disc, triangle, square, diamond and plus, relative to a dot's place."""
CROSS = "m-3-3l6 6m0-6l-6 6"
"""Without a verdict."""
UNSCORED = "unscored"
MOST_ALIVE = 2000
"""Dots that answer to the pointer; of a larger figure the rest are only seen."""


@dataclass(frozen=True)
class Mark:
    shape: str
    """SVG path data."""
    colour: int
    hollow: bool
    label: str
    row: int | None
    """Where in the table of samples it stands, when it does."""


@dataclass(frozen=True)
class Key:
    name: str
    colour: int | None
    shape: str
    hollow: bool


@dataclass(frozen=True)
class Plane:
    kind: ClassVar[str] = "scatter"
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
    marks: tuple[Mark, ...]
    silent: tuple[Mark, ...]
    """The dots beyond MOST_ALIVE, one path for each colour and shape."""
    keys: tuple[Key, ...]
    numbers: Numbers


def plane(figure: Scatter, known: Mapping[str, Pointer]) -> Plane:
    """Coordinates of every dot; `known` says what is known of the samples."""
    dots = figure.dots
    verdicts = [known[dot.id].verdict if dot.id in known else UNSCORED for dot in dots]
    colours = ranked((dot.group for dot in dots), COLOURS)
    shapes = ranked((verdict for verdict in verdicts if verdict != UNSCORED), len(SHAPES))
    across = Scale(*domain(dot.x for dot in dots), LEFT, WIDTH - RIGHT)
    up = Scale(*domain(dot.y for dot in dots), HEIGHT - BOTTOM, TOP)
    marks = tuple(
        Mark(
            f"M{across(dot.x):g} {up(dot.y):g}{_shape(shapes.get(verdict))}",
            colours[dot.group],
            _hollow(shapes.get(verdict)),
            _label(dot, verdict, known.get(dot.id)),
            known[dot.id].row if dot.id in known else None,
        )
        for dot, verdict in zip(dots, verdicts, strict=True)
    )
    return Plane(
        title=figure.name,
        caption=figure.caption,
        description=_spoken(dots, verdicts),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x_name=figure.x,
        y_name=figure.y,
        x_ticks=ticks(across),
        y_ticks=ticks(up),
        marks=marks[:MOST_ALIVE],
        silent=_merged(marks[MOST_ALIVE:]),
        keys=tuple(_keys(colours, shapes, UNSCORED in verdicts)),
        numbers=numbers(
            ("Sample", "Group", "Verdict", figure.x or "x", figure.y or "y"),
            (
                (dot.id, dot.group, verdict, number(dot.x), number(dot.y))
                for dot, verdict in zip(dots, verdicts, strict=True)
            ),
            len(dots),
        ),
    )


def _shape(place: int | None) -> str:
    return CROSS if place is None else SHAPES[place]


def _hollow(place: int | None) -> bool:
    return place is None or place % 2 == 1


def _label(dot: Dot, verdict: str, pointer: Pointer | None) -> str:
    parts = (dot.id, dot.group, verdict, f"({number(dot.x)}, {number(dot.y)})", pointer.preview if pointer else "")
    return " · ".join(filter(None, parts))


def _merged(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    paths: dict[tuple[int, bool], str] = {}
    for mark in marks:
        paths[mark.colour, mark.hollow] = paths.get((mark.colour, mark.hollow), "") + mark.shape
    return tuple(Mark(path, colour, hollow, "", None) for (colour, hollow), path in paths.items())


def _keys(colours: Mapping[str, int], shapes: Mapping[str, int], unscored: bool) -> list[Key]:
    """What each colour and each shape stands for; names that share the last one are counted."""
    keys = [Key(name, colour, f"M13 6{SHAPES[0]}", False) for name, colour in legend(colours) if name]
    keys += [Key(name, None, f"M13 6{_shape(place)}", _hollow(place)) for name, place in legend(shapes)]
    return [*keys, *([Key(UNSCORED, None, f"M13 6{CROSS}", True)] if unscored else [])]


def _spoken(dots: Sequence[Dot], verdicts: Sequence[str]) -> str:
    """What a reader who does not see the figure must know of it: where the middle of each cohort lies."""
    cells: dict[str, list[Dot]] = {}
    for dot in dots:
        cells.setdefault(dot.group or "samples", []).append(dot)
    places = "; ".join(
        f"{name}: {len(members)} dots, median at {number(median(dot.x for dot in members))} across, "
        f"{number(median(dot.y for dot in members))} up"
        for name, members in cells.items()
    )
    judged = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).most_common())
    return f"{places}. Verdicts: {judged}" if dots else "no samples"
