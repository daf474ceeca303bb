"""A finished run as one HTML file that needs no network, no server and no script to be read."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from deepsight_core import Reporter, hookimpl


class HtmlReport(Reporter):
    """One self-contained page: measurements with intervals, layer profiles, and every sample behind a click."""

    name = "html"
    max_samples: int = Field(2000, ge=0)
    """Most rows in the table of samples, shared among the data sets; the page says how many are left out."""

    def write(self, run: Path) -> Path:
        """Write report.html into the run directory. Raises RunError when the run has no readable report.json,
        CorruptRecords naming the damaged line of records.jsonl."""
        from deepsight_core.records import RunDirectory
        from deepsight_html.page import build
        from deepsight_html.render import render

        directory = RunDirectory(run)
        page = build(directory.report(), directory.records(), self.max_samples)
        path = run / "report.html"
        path.write_text(render(page), encoding="utf-8")
        return path


@hookimpl
def deepsight_reporters() -> list[type[Reporter]]:
    return [HtmlReport]
