"""A quantity over two things: a cell for each pair, and the scale beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepsight_core.figures import Heatmap
from deepsight_figures.style import NULL, caption, label, paper, short

ONE_SIDED = "cividis"
"""Even in lightness, and seen alike with and without red-green blindness (Nuñez, Anderton and Renslow 2018)."""
DIVERGING = "PuOr_r"
"""Orange and purple, which remain apart for all common kinds of colour blindness (ColorBrewer)."""
MOST_LABELS = 32
LONGEST = 16


def draw_heatmap(figure: Heatmap) -> Figure:
    """Cells without a value are hatched. With a centre the scale reaches as far on either side of it."""
    rows, columns = len(figure.rows), len(figure.columns)
    drawn = paper(min(7.0, 1.6 + 0.15 * rows), figure.name, width=min(9.0, max(4.4, 2.2 + 0.12 * columns)))
    axes = drawn.subplots()
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    values = np.array([[np.nan if value is None else value for value in row] for row in figure.values], dtype=float)
    values = values.reshape(rows, columns)
    if not values.size:
        caption(drawn, f"{figure.caption} There are no cells.")
        return drawn
    hatched = Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor="white", edgecolor=NULL, hatch="////", lw=0)
    if np.isnan(values).any():
        axes.add_patch(hatched).set_zorder(0)
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap=colormaps[ONE_SIDED if figure.centre is None else DIVERGING].with_extremes(bad=(0, 0, 0, 0)),
        norm=_norm(values, figure.centre),
        zorder=1,
    )
    _ticks(axes, figure)
    bar = drawn.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(short(figure.unit))
    bar.outline.set_linewidth(0.6)
    label(axes, figure.x, figure.y)
    caption(drawn, f"{figure.caption}{' Hatched: no value.' if np.isnan(values).any() else ''}")
    return drawn


def _norm(values: np.ndarray, centre: float | None) -> Normalize:
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if centre is None:
        return Normalize(low, high)
    reach = max(high - centre, centre - low) or 1.0
    return Normalize(centre - reach, centre + reach)


def _ticks(axes: Axes, figure: Heatmap) -> None:
    rows, columns = _thinned(figure.rows), _thinned(figure.columns)
    axes.set_yticks(rows, [short(figure.rows[row], LONGEST) for row in rows])
    names = [short(figure.columns[column], LONGEST) for column in columns]
    upright = sum(map(len, names)) > 50
    axes.set_xticks(columns, names, rotation=90 if upright else 0)
    axes.tick_params(length=2)


def _thinned(names: Sequence[str]) -> list[int]:
    """Places of the names that are written: every one, second, fifth, tenth ..."""
    every = next((n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if len(names) <= n * MOST_LABELS), 2000)
    return list(range(0, len(names), every))
