"""A quantity over layers: lines with 95 % bands, what lies there by chance, and controls as level lines."""

from __future__ import annotations

from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepsight_core.display import finite
from deepsight_core.profiles import Panel, Profile, Series
from deepsight_figures.style import COLOURS, DASHES, INK, NULL, caption, label, paper, safe, short

ACROSS = 2
"""Panels in a row."""


def draw_profile(profile: Profile) -> Figure:
    """One panel for each place in the network, on shared axes."""
    rows = -(-len(profile.panels) // ACROSS)
    alone = len(profile.panels) == 1
    figure = paper(0.5 + 2.9 * rows, f"{profile.name} by layer", width=4.4 if alone else 7.2)
    grid = figure.subplots(rows, 1 if alone else ACROSS, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, profile.panels, strict=False):
        _draw(axes, panel)
        label(axes, "layer", profile.unit or profile.name)
    for axes in list(grid.flat)[len(profile.panels) :]:
        axes.remove()
    if any(finite(value) is not None for value in chain.from_iterable(panel.values() for panel in profile.panels)):
        grid[0, 0].margins(x=0.02, y=0.06)
    caption(figure, _legend(profile))
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(safe(panel.title), loc="left", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    null = next((one for one in panel.series if _ends(one, "null_low", "null_high") is not None), None)
    if null is not None:
        _band(axes, null, "null_low", "null_high", NULL, short(f"chance, {null.name}"))
    for one in panel.series:
        colour, dash = COLOURS[one.style % len(COLOURS)], DASHES[one.style % len(DASHES)]
        _band(axes, one, "low", "high", colour, None)
        layers = [point.layer for point in one.points]
        axes.plot(layers, _column(one, "value"), color=colour, linestyle=dash, label=short(one.name))
        axes.plot(layers, _column(one, "value"), color=colour, linestyle="none", marker="o", markersize=2.2)
        for point in one.points:
            if point.headline and point.value is not None:
                axes.plot([point.layer], [point.value], marker="o", markersize=6, mfc="white", mec=colour, mew=1.6)
    for reference in panel.references:
        axes.axhline(reference.value, color=INK, linewidth=1, linestyle=DASHES[1 + reference.style % 5])
        axes.annotate(
            short(reference.name), (1, reference.value), xycoords=("axes fraction", "data"), xytext=(-2, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=6.5, color=INK,
        )  # fmt: skip
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def _band(axes: Axes, series: Series, low: str, high: str, colour: str, name: str | None) -> None:
    """Around runs of known intervals; an interval that stands alone becomes a bar."""
    ends = _ends(series, low, high)
    if ends is None:
        return
    layers = np.array([point.layer for point in series.points], dtype=float)
    known = ~np.isnan(ends).any(axis=0)
    axes.fill_between(layers, ends[0], ends[1], where=known.tolist(), color=colour, alpha=0.18, linewidth=0, label=name)
    padded = np.concatenate(([False], known, [False]))
    alone = known & ~padded[:-2] & ~padded[2:]
    axes.vlines(layers[alone], ends[0][alone], ends[1][alone], color=colour, alpha=0.4, linewidth=3)


def _ends(series: Series, low: str, high: str) -> np.ndarray | None:
    """Lower and upper ends, [2, layers], NaN where either is unknown; None where all are."""
    ends = np.array([_column(series, low), _column(series, high)])
    ends[:, np.isnan(ends).any(axis=0)] = np.nan
    return None if np.isnan(ends).all() else ends


def _column(series: Series, name: str) -> list[float]:
    values = (finite(getattr(point, name)) for point in series.points)
    return [float("nan") if value is None else value for value in values]


def _legend(profile: Profile) -> str:
    """What the bands mean, as far as there are any."""
    points = [point for panel in profile.panels for one in panel.series for point in one.points]
    said = []
    if any(finite(point.low) is not None and finite(point.high) is not None for point in points):
        said.append("Shaded: 95 % interval.")
    if any(finite(point.null_low) is not None and finite(point.null_high) is not None for point in points):
        said.append("Grey: where 95 % of the values lie when there is nothing to find.")
    if any(panel.references for panel in profile.panels):
        said.append("Level lines: controls.")
    return " ".join(said)
