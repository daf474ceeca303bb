"""The look that all figures share: fonts and lines for print, a palette that the colour-blind can read, safe texts."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsight_core.display import visible

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Blue, vermilion, green, purple, sky and orange of Okabe and Ito (2008)."""
DASHES = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)), (0, (8, 2, 1.5, 2, 1.5, 2)))
"""One with each colour, so that no figure depends on colour."""
NULL = "#8a939d"
INK = "#333a42"
LINE = 108
"""Letters of a caption on one line of a figure 6.4 inches wide."""
WIDE = 6.4
"""Width in inches: both columns of most journals."""

SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # a token with a dollar sign is no formula
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same letters on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e6e9",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "svg.fonttype": "path",
    "svg.hashsalt": "deepsight",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


def paper(height: float, title: str, width: float = WIDE) -> Figure:
    """An empty figure, in inches, that no window system and no global list of figures knows of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(safe(title), x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def caption(figure: Figure, text: str) -> None:
    """Words beneath a figure, wrapped to its width."""
    if text:
        letters = int(LINE * figure.get_figwidth() / WIDE)
        figure.supxlabel(textwrap.fill(safe(text), letters), x=0.01, ha="left", fontsize=8, color=INK)


def label(axes: Axes, x: str, y: str) -> None:
    """Names of both axes, with units, on as many lines as they need; what is longer than two is cut."""
    axes.set_xlabel("\n".join(textwrap.wrap(safe(x), 60, max_lines=2, placeholder=" …")))
    axes.set_ylabel("\n".join(textwrap.wrap(safe(y), 36, max_lines=2, placeholder=" …")))


def short(text: str, longest: int = 40) -> str:
    """Foreign text for a legend or beside a tick; a sign for one that is nothing but white space."""
    text = safe(text) or "␣"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def safe(text: str) -> str:
    """Foreign text as it can be drawn: on one line, without characters that XML forbids or that reorder it."""
    return visible(" ".join(text.split()))
