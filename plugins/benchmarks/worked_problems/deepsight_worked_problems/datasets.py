"""The problems: read strictly, asked as they are, with the worked solution as the reference answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from deepsight_core import Dataset, Sample, Source, content_id, user
from deepsight_core.components import Spec
from deepsight_core.errors import SourceError

GSM8K_TEST = 1319
"""Problems in the published test split (Cobbe et al. 2021, arXiv:2110.14168)."""


class GSM8K(Dataset):
    """GSM8K, test split: 1,319 grade-school word problems with worked solutions (Cobbe et al. 2021, arXiv:2110.14168).

    Each is asked as it is, without examples. The reference answer is the solution as written, calculator annotations
    and final "#### number" included.
    """

    name: ClassVar[str] = "gsm8k"
    judges: ClassVar[tuple[Spec, ...]] = ("final-number",)
    metrics: ClassVar[tuple[Spec, ...]] = ({"name": "rate", "label": "correct", "direction": "higher"},)
    source: Source = Source(
        url="https://raw.githubusercontent.com/openai/grade-school-math/"
        "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/test.jsonl",
        file="gsm8k/test.jsonl",
        sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        licence="MIT",
    )

    def samples(self) -> Iterator[Sample]:
        """In the order of the file. Raises SourceError, naming line and field, for a malformed file, and for a
        downloaded one that does not hold all problems."""
        path = self.source.fetch()
        samples = tuple(_samples(self.name, _json_lines(path), ("question", "answer")))
        if self.source.path is None and len(samples) != GSM8K_TEST:
            raise SourceError(
                f"{path} holds {len(samples)} problems, the test split {GSM8K_TEST}; fetch it again, "
                "or set source.path to use a file of your own"
            )
        yield from samples


class MathTrain12k(Dataset):
    """Problems of MATH with worked solutions, as MI-Peaks uses them (Hendrycks et al. 2021, arXiv:2103.03874).

    Asked as they are. Final answers are LaTeX expressions, which no judge here compares: this set is for diagnostics.
    """

    name: ClassVar[str] = "math-train-12k"
    source: Source = Source(
        url="https://raw.githubusercontent.com/ChnQ/MI-Peaks/"
        "52d282bfdfbcfe0247b49b203d9d84584e4d6352/src/data/math_train_12k.csv",
        file="mi_peaks/math_train_12k.csv",
        licence="MIT",
    )

    def samples(self) -> Iterator[Sample]:
        """In the order of the file. Raises SourceError, naming line and field, for a malformed file."""
        yield from _samples(self.name, _csv_rows(self.source.fetch()), ("problem", "solution"))


Row = tuple[str, dict[str, object]]
"""Where it stands, for messages, and its fields."""


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"{where}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise SourceError(f"{where}: not a JSON object")
            yield where, row


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield f"{path}, line {reader.line_num}", dict(row)


def _samples(name: str, rows: Iterable[Row], fields: tuple[str, str]) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    for where, row in rows:
        for field in fields:
            if not isinstance(value := row.get(field), str) or not value.strip():
                raise SourceError(f"{where}: field {field!r} is missing or empty")
        problem, solution = (str(row[field]) for field in fields)
        first = f"{name}-{content_id(problem)}"
        seen[first] = seen.get(first, 0) + 1
        yield Sample(
            id=first if seen[first] == 1 else f"{first}-{seen[first]}",
            messages=(user(problem),),
            target=solution,
            group=first,  # a problem that the file repeats is still one problem
        )
