"""The answers of TELLME's test files: read strictly, each row a prompt and an answer that belongs to it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from deepsight_core import Dataset, Sample, Source, assistant, content_id, user
from deepsight_core.components import Spec
from deepsight_core.errors import SourceError

COLUMNS = ("prompt", "response", "is_safe", "category_id")
ROWS = {"binary": 2000, "six": 1200}
CATEGORIES = {
    "3": "discrimination",
    "8": "unethical behaviour",
    "9": "privacy",
    "11": "sexually explicit",
    "13": "violence",
    "100": "safe",
}
"""By the file's category_id: the places of BeaverTails' fourteen categories that were chosen, and 100 for safe."""
SAFE = {"True": True, "False": False}
_FILES = "https://raw.githubusercontent.com/AI45Lab/TELLME/24ced57d52a270f4f110103720083d28f7dc4141/dataset/safety/"


class BeaverTailsTellme(Dataset):
    """BeaverTails answers as TELLME sorts them: 1000 unsafe, of five categories, and 1000 safe (Chen et al. 2025,
    arXiv:2502.05242; Ji et al. 2023, arXiv:2307.04657).

    `harmful` is about the answer, not about the prompt, which is often the same for both. A run that evaluates them
    asks the prompts; the answers of the file are for diagnostics that bring their own data.
    """

    name: ClassVar[str] = "beavertails-tellme"
    judges: ClassVar[tuple[Spec, ...]] = ("refusal",)
    metrics: ClassVar[tuple[Spec, ...]] = ({"name": "rate", "label": "refused", "judge": "refusal"},)
    breakdown: ClassVar[tuple[str, ...]] = ("category",)
    classes: Literal["binary", "six"] = "binary"
    """binary: 1000 unsafe and 1000 safe answers; six: 200 of each category and 200 safe ones."""
    binary: Source = Source(
        url=f"{_FILES}binary/test/test.csv",
        file="tellme/binary_test.csv",
        sha256="526498958ca374a0af0dda3b4de81d608cc2744d60e5a0e2507a702870ec9cab",
        licence="CC-BY-NC-4.0",
    )
    six: Source = Source(
        url=f"{_FILES}multi_cls/test/test.csv",
        file="tellme/multi_cls_test.csv",
        sha256="6d75bfd83283a44058b08279941294f331113f4cc88c99c835736fed0b68bd55",
        licence="CC-BY-NC-4.0",
    )

    def samples(self) -> Iterator[Sample]:
        """The rows in the order of the file. Raises SourceError, naming row and field, for a malformed file, and for a
        downloaded one that does not hold all its rows."""
        source = self.binary if self.classes == "binary" else self.six
        path = source.fetch()
        rows = list(_rows(path))
        if source.path is None and len(rows) != ROWS[self.classes]:
            raise SourceError(
                f"{path} holds {len(rows)} rows, not {ROWS[self.classes]}; fetch it again, or set {self.classes}.path"
            )
        yield from _samples(rows)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for column in COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise SourceError(f"{path} has no column {column!r}; TELLME's files have {', '.join(COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            for column in COLUMNS:
                if not (row[column] or "").strip():
                    raise SourceError(f"{where}: field {column!r} is empty")
            if row["is_safe"] not in SAFE:
                raise SourceError(f"{where}: field 'is_safe' is {row['is_safe']!r}, expected True or False")
            if row["category_id"] not in CATEGORIES:
                raise SourceError(
                    f"{where}: field 'category_id' is {row['category_id']!r}, expected one of {', '.join(CATEGORIES)}"
                )
            yield row


def _samples(rows: list[dict[str, str]]) -> Iterator[Sample]:
    """Rows may repeat one another word for word: each is a sample, told apart by how often it occurred before. Rows
    that share a prompt are one cluster."""
    seen: Counter[tuple[str, str]] = Counter()
    for number, row in enumerate(rows):
        prompt, response = row["prompt"], row["response"]
        again = (str(seen[prompt, response]),) if seen[prompt, response] else ()
        seen[prompt, response] += 1
        yield Sample(
            id=f"tellme-{content_id(prompt, response, *again)}",
            messages=(user(prompt), assistant(response)),
            group=f"tellme-{content_id(prompt)}",
            labels={"harmful": not SAFE[row["is_safe"]], "category": CATEGORIES[row["category_id"]]},
            metadata={"row": number},
        )
