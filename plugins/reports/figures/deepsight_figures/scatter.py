"""Samples in a plane: colour says which cohort a sample belongs to, shape how its answer was judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepsight_core.display import legend, ranked
from deepsight_core.figures import Scatter
from deepsight_figures.style import COLOURS, INK, caption, label, paper, short

SHAPES = ("o", "^", "s", "D", "P")
UNSCORED = "x"


def draw_scatter(figure: Scatter, verdicts: Mapping[str, str]) -> Figure:
    """`verdicts`: sample id to label; a sample that is not there is unscored."""
    judged = [verdicts.get(dot.id) for dot in figure.dots]
    colours = ranked((dot.group for dot in figure.dots), len(COLOURS))
    shapes = ranked((verdict for verdict in judged if verdict is not None), len(SHAPES))
    drawn = paper(4.2, figure.name, width=5.2)
    axes = drawn.subplots()
    axes.grid(True, axis="both")
    cells = Counter((dot.group, verdict) for dot, verdict in zip(figure.dots, judged, strict=True))
    for group, verdict in cells:
        own = [dot for dot, given in zip(figure.dots, judged, strict=True) if dot.group == group and given == verdict]
        colour = COLOURS[colours[group]]
        place = None if verdict is None else shapes[verdict]
        axes.plot(
            [dot.x for dot in own],
            [dot.y for dot in own],
            linestyle="none",
            marker=UNSCORED if place is None else SHAPES[place],
            markersize=4.6,
            color=colour,
            markerfacecolor=_face(colour, place),
            markeredgewidth=1.0,
            alpha=0.75,
        )
    label(axes, figure.x, figure.y)
    groups = [_key(name, COLOURS[place], 0) for name, place in legend(colours) if name]
    kinds = [_key(name, INK, place) for name, place in legend(shapes)]
    unscored = [_key("unscored", INK, None)] if None in judged else []
    if keys := [*groups, *kinds, *unscored]:
        axes.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=min(5, len(keys)))
    caption(drawn, figure.caption)
    return drawn


def _key(name: str, colour: str, place: int | None) -> Line2D:
    marker = UNSCORED if place is None else SHAPES[place]
    face = _face(colour, place)
    return Line2D([], [], linestyle="none", marker=marker, markersize=5, color=colour, mfc=face, label=short(name))


def _face(colour: str, place: int | None) -> str:
    """Every second shape is hollow, so that shapes remain apart where dots are many."""
    return "none" if place is not None and place % 2 == 1 else colour
