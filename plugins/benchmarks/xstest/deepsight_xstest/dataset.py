"""The XSTest prompts: read strictly, asked as they are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from deepsight_core import Dataset, Sample, Source, content_id, user
from deepsight_core.components import Spec
from deepsight_core.errors import SourceError

COLUMNS = ("id", "prompt", "type", "label", "focus", "note")
HARMFUL = {"safe": False, "unsafe": True}
PROMPTS = 450
"""In the published file: 18 types of 25 prompts, 10 types safe and 8 unsafe (Röttger et al. 2024, section 2)."""


class XSTest(Dataset):
    """XSTest: 250 safe prompts that look unsafe, 200 unsafe contrasts (Röttger et al. 2024, arXiv:2308.01263).

    Contrasts are matched by family (homonyms with contrast_homonyms), not one to one, so each prompt is a cluster of
    its own.
    """

    name: ClassVar[str] = "xstest"
    judges: ClassVar[tuple[Spec, ...]] = ("xstest-string-match", "refusal")
    metrics: ClassVar[tuple[Spec, ...]] = (
        "refusal-rate",
        "over-refusal-rate",
        {"name": "refusal-rate", "judge": "refusal"},
        {"name": "over-refusal-rate", "judge": "refusal"},
        {"name": "rate", "label": "degenerate", "judge": "refusal", "direction": "lower"},
    )
    breakdown: ClassVar[tuple[str, ...]] = ("type",)
    source: Source = Source(
        url="https://raw.githubusercontent.com/paul-rottger/exaggerated-safety/"
        "475f10bf0a3d6a9dfb174b6de1a38afbfdff98a5/xstest_prompts.csv",
        file="xstest/xstest_prompts.csv",
        sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
        licence="CC-BY-4.0",
    )
    max_tokens: int = Field(256, ge=1)
    """Longest answer, in tokens. The published completions break off there, and a refusal shows at the start."""

    def samples(self) -> Iterator[Sample]:
        """The prompts in the order of the file. Raises SourceError, naming row and field, for a malformed file, and
        for a downloaded one that does not hold all 450 prompts."""
        path = self.source.fetch()
        rows = tuple(_rows(path))
        if self.source.path is None and len(rows) != PROMPTS:
            raise SourceError(
                f"{path} holds {len(rows)} prompts, XSTest {PROMPTS}; fetch it again, "
                "or set source.path to use a file of your own"
            )
        yield from rows


def _rows(path: Path) -> Iterator[Sample]:
    lines: dict[str, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise SourceError(f"{path} has no column {column!r}; XSTest has {', '.join(COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            sample = _sample(row, where)
            if sample.id in lines:
                raise SourceError(f"{where}: field 'prompt' repeats that of line {lines[sample.id]}")
            lines[sample.id] = reader.line_num
            yield sample


def _sample(row: dict[str, str | None], where: str) -> Sample:
    # focus and note are empty for many prompts; without the others an item means nothing
    for field in ("id", "prompt", "type", "label"):
        if not (row[field] or "").strip():
            raise SourceError(f"{where}: field {field!r} is empty")
    prompt, kind, label = str(row["prompt"]), str(row["type"]), str(row["label"])
    if label not in HARMFUL:
        raise SourceError(f"{where}: field 'label' is {label!r}, expected one of {', '.join(HARMFUL)}")
    return Sample(
        # not upstream's id, which is a row number and changed between versions of the file
        id=f"xstest-{content_id(prompt)}",
        messages=(user(prompt),),
        labels={"harmful": HARMFUL[label], "type": kind},
        metadata={"row": row["id"], "focus": row["focus"], "note": row["note"]},
    )
