"""What a notebook shows of a run: its HTML report in a frame of its own, or else the table of the terminal."""

from __future__ import annotations

from html import escape
from pathlib import Path

from deepsight_core.display import visible
from deepsight_core.protocol import Report
from deepsight_core.report import terminal


def inline(run: Path, report: Report) -> str:
    """HTML for the output of a cell. What a model said stays inside a frame that can run no script."""
    page = run / "report.html"
    if page.is_file():
        content = escape(page.read_text(encoding="utf-8"))
        return f'<iframe sandbox srcdoc="{content}" style="width: 100%; height: 46em; border: 0"></iframe>'
    return f"<pre>{escape(visible(terminal(report)))}</pre>"
