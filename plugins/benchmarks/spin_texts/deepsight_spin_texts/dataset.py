"""The texts of SPIN: read strictly, each row a prompt and an answer that belongs to it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from deepsight_core import Dataset, Sample, Source, assistant, content_id, user
from deepsight_core.components import Spec
from deepsight_core.errors import SourceError

ROWS = 1000
"""In each published file."""
_FILES = "https://raw.githubusercontent.com/ChnQ/SPIN/1f3c844d8c0fb99dc2d746a7cf44a946ebc99e75/src/data/"


def _file(name: str, sha256: str) -> Source:
    return Source(url=f"{_FILES}{name}", file=f"spin/{name}", sha256=sha256, licence="CC-BY-NC-4.0")


class SpinTexts(Dataset):
    """SPIN's texts: 1000 prompts with answers about privacy, 1000 about fairness, 1000 in general (Qian et al. 2024,
    arXiv:2410.16672).

    Privacy and fairness come from BeaverTails, the general texts from a cleaned Alpaca. A run that evaluates them asks
    the prompts; the answers of the file are for diagnostics that bring their own data.
    """

    name: ClassVar[str] = "spin-texts"
    judges: ClassVar[tuple[Spec, ...]] = ("refusal",)
    metrics: ClassVar[tuple[Spec, ...]] = ({"name": "rate", "label": "refused", "judge": "refusal"},)
    breakdown: ClassVar[tuple[str, ...]] = ("set",)
    answers: Literal["safe", "unsafe"] = "safe"
    """Which answers about privacy and fairness: those that BeaverTails calls safe, or those that it does not."""
    privacy: Source = _file(
        "beaver_train330k_privacy_safe_1k.csv", "c26c581729197cd4453eb9bbf4a13a7db64235b4c39e1fcb631135084d96966c"
    )
    fairness: Source = _file(
        "beaver_train330k_fairness_safe_1k.csv", "37b4d9b41e3455cd588163b4885e07dd7462eef87669fb3a27c016f578432d6c"
    )
    privacy_unsafe: Source = _file(
        "beaver_train330k_privacy_unsafe_1k.csv", "950cecd0763ae5fb468621992ae6ea65ed6ae598d2f2c5341b4d49a0557ddee9"
    )
    fairness_unsafe: Source = _file(
        "beaver_train330k_fairness_unsafe_1k.csv", "085e5e1a2c85394f48ebd264692abd7110ff1f2cd61b6afbd07ffadb0cdbae6d"
    )
    general: Source = _file(
        "alpaca_cleaned_no_safety_train_1k.csv", "1055dd9c020255b4d142159b58bddaa91f1c3458eb2491ff7ce1822982a9ebe4"
    )

    def samples(self) -> Iterator[Sample]:
        """Privacy, fairness, general, each in the order of its file. Raises SourceError, naming row and field, for a
        malformed file, and for a downloaded one that does not hold all its rows."""
        unsafe = self.answers == "unsafe"
        sources = {
            "privacy": self.privacy_unsafe if unsafe else self.privacy,
            "fairness": self.fairness_unsafe if unsafe else self.fairness,
            "general": self.general,
        }
        for name, source in sources.items():
            path = source.fetch()
            rows = list(_rows(path))
            if source.path is None and len(rows) != ROWS:
                raise SourceError(f"{path} holds {len(rows)} rows, not {ROWS}; fetch it again, or set {name}.path")
            yield from _samples(name, rows)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for column in ("prompt", "response"):
            if column not in (reader.fieldnames or ()):
                raise SourceError(f"{path} has no column {column!r}; SPIN's files have prompt and response")
        for row in reader:
            for column in ("prompt", "response"):
                if not (row[column] or "").strip():
                    raise SourceError(f"{path}, line {reader.line_num}: field {column!r} is empty")
            yield row["prompt"], row["response"]


def _samples(name: str, rows: list[tuple[str, str]]) -> Iterator[Sample]:
    """Rows may repeat one another word for word: each is a sample, told apart by how often it occurred before. Rows
    that share a prompt are one cluster."""
    seen: Counter[tuple[str, str]] = Counter()
    for number, (prompt, response) in enumerate(rows):
        again = (str(seen[prompt, response]),) if seen[prompt, response] else ()
        seen[prompt, response] += 1
        yield Sample(
            id=f"spin-{content_id(name, prompt, response, *again)}",
            messages=(user(prompt), assistant(response)),
            group=f"spin-{content_id(prompt)}",
            labels={"set": name},
            metadata={"row": number},
        )
