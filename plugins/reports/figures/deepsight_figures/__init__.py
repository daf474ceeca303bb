"""The figures of a finished run as files, for papers and slides."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import Field

from deepsight_core import Reporter, hookimpl

log = logging.getLogger(__name__)

Format = Literal["svg", "png", "pdf"]


class FigureFiles(Reporter):
    """Every layer profile, plane, trajectory and heat map of the run's diagnoses, each as a file of its own."""

    name = "figures"
    formats: tuple[Format, ...] = Field(("svg", "png"), min_length=1)
    """Kinds of file to write of each figure."""
    dpi: int = Field(200, ge=50, le=1200)
    """Dots per inch of a PNG; the other formats have none."""

    def write(self, run: Path) -> Path:
        """Write figures/ into the run directory and return it; without anything to draw, nothing is written, a
        warning says so, and the run directory is returned. Figures of an earlier report are replaced. Raises RunError
        when the run has no readable report.json, CorruptRecords naming the damaged line of records.jsonl."""
        from deepsight_core.records import RunDirectory
        from deepsight_figures.files import clear, drawings, save

        directory = RunDirectory(run)
        report = directory.report()
        folder = run / "figures"
        clear(folder)
        made = drawings(report.diagnoses, directory.records())
        if not made:
            log.warning("%s has no diagnosis with figures or layer profiles: no figures are written", run)
            return run
        for drawing in made:
            save(drawing, folder, self.formats, self.dpi)
        return folder


@hookimpl
def deepsight_reporters() -> list[type[Reporter]]:
    return [FigureFiles]
