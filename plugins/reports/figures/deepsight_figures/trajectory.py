"""A quantity along the tokens of a text: the line with its band, and its peaks named by their tokens."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepsight_core.figures import Trajectory
from deepsight_figures.style import COLOURS, WIDE, caption, label, paper, short

MOST_NAMED = 12
"""Peaks whose tokens are written out, the highest first; more would hide each other."""
SHORT = 60
LONGEST = 14


def draw_trajectory(figure: Trajectory) -> Figure:
    """Values that are unknown are gaps in the line."""
    values = _column(figure.values)
    places = np.arange(len(values))
    drawn = paper(2.9, figure.name, width=WIDE if len(values) > SHORT else 4.4)
    axes = drawn.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if figure.low and figure.high:
        low, high = _column(figure.low), _column(figure.high)
        known = (~np.isnan(low + high)).tolist()
        axes.fill_between(places, low, high, where=known, color=COLOURS[0], alpha=0.18, linewidth=0)
    dots = "o" if len(values) <= SHORT else ""
    axes.plot(places, values, color=COLOURS[0], linewidth=1.2, marker=dots, markersize=2.2)
    marks = [place for place in figure.marks if figure.values[place] is not None]
    axes.plot(marks, values[marks], linestyle="none", marker="o", markersize=5, mfc="white", mec=COLOURS[1], mew=1.5)
    if figure.words:
        for place in sorted(marks, key=lambda place: -values[place])[:MOST_NAMED]:
            axes.annotate(
                short(figure.words[place], LONGEST),
                (place, values[place]),
                xytext=(0, 6),
                textcoords="offset points",
                fontsize=7,
                rotation=40,
                rotation_mode="anchor",
                horizontalalignment="left",
            )
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + 0.15 * (top - bottom))
    axes.margins(x=0.01)
    label(axes, figure.x or "token", figure.y)
    caption(drawn, figure.caption)
    return drawn


def _column(values: tuple[float | None, ...]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
