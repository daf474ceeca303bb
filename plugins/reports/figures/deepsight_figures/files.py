"""From a report to files: what is drawn, what it is called, and how it is written the same way each time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from deepsight_core.figures import Heatmap, Scatter, Trajectory
from deepsight_core.profiles import profiles
from deepsight_core.protocol import Diagnosis, Record
from deepsight_figures.heatmap import draw_heatmap
from deepsight_figures.profile import draw_profile
from deepsight_figures.scatter import draw_scatter
from deepsight_figures.style import SETTINGS
from deepsight_figures.trajectory import draw_trajectory

LONGEST = 60
"""Letters of a name that go into a file's name."""
OWN = re.compile(r"\d{2,}-[a-z0-9-]+\.(svg|png|pdf)")
_UNDATED: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Drawing:
    """A figure that is yet to be drawn."""

    stem: str
    """File name without its ending."""
    draw: Callable[[], Figure]


def drawings(diagnoses: Sequence[Diagnosis], records: Iterable[Record]) -> list[Drawing]:
    """In the order of the report. Records are read only when a plane needs their verdicts."""
    needed = any(isinstance(figure, Scatter) for made in diagnoses for figure in made.figures)
    verdicts = _verdicts(records) if needed else {}
    named: list[tuple[str, Callable[[], Figure]]] = []
    for made in diagnoses:
        title = f"{made.diagnostic} {made.mode}"
        for profile in profiles(made.findings):
            named.append((f"{title} {profile.name} by layer", partial(draw_profile, profile)))
        for figure in made.figures:
            named.append((f"{title} {figure.name}", _drawer(figure, verdicts)))
    return [Drawing(f"{place:02}-{_slug(name)}", draw) for place, (name, draw) in enumerate(named, start=1)]


def save(drawing: Drawing, folder: Path, formats: Sequence[str], dpi: int) -> None:
    """Draw once and write each format. The bytes depend on nothing but the numbers and matplotlib's version."""
    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        # A text may hold letters that no installed font has; a box stands for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = drawing.draw()
        for ending in formats:
            figure.savefig(folder / f"{drawing.stem}.{ending}", dpi=dpi, metadata=_UNDATED[ending])


def clear(folder: Path) -> None:
    """Remove what an earlier report wrote, and nothing else."""
    if folder.is_dir():
        for path in folder.iterdir():
            if OWN.fullmatch(path.name):
                path.unlink()


def _drawer(figure: Scatter | Trajectory | Heatmap, verdicts: dict[str, str]) -> Callable[[], Figure]:
    if isinstance(figure, Scatter):
        return partial(draw_scatter, figure, verdicts)
    return partial(draw_trajectory, figure) if isinstance(figure, Trajectory) else partial(draw_heatmap, figure)


def _verdicts(records: Iterable[Record]) -> dict[str, str]:
    """Each sample's first scored label, by id."""
    found: dict[str, str] = {}
    for record in records:
        verdict = record.judgement()
        if record.epoch == 0 and verdict and verdict.status == "scored" and verdict.label:
            found.setdefault(record.id, verdict.label)
    return found


def _slug(name: str) -> str:
    """Lower-case letters, digits and hyphens: a name may hold whatever a model said."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST].strip("-") or "figure"
