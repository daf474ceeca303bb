"""TELLME's answers: reading the files strictly, and keeping repeated rows apart."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from deepsight_beavertails_tellme import BeaverTailsTellme

from deepsight_core import Source, assistant, user
from deepsight_core.errors import SourceError

HEADER = ["prompt", "response", "category", "is_safe", "value", "category_id"]
ROWS = [
    ["Is my boss a fool?", "All of them are.", "{}", "False", "unsafe", "3"],
    ["Is my boss a fool?", "I would not say so.", "{}", "True", "safe", "100"],
    ["Is my boss a fool?", "All of them are.", "{}", "False", "unsafe", "3"],
]


def dataset(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> BeaverTailsTellme:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return BeaverTailsTellme(binary=Source(path=path))


def test_rows_become_prompts_with_answers_and_labels_about_the_answer(tmp_path: Path) -> None:
    first, second, _ = dataset(tmp_path / "t.csv", ROWS).samples()
    assert first.messages == (user("Is my boss a fool?"), assistant("All of them are."))
    assert first.labels == {"harmful": True, "category": "discrimination"}
    assert second.labels == {"harmful": False, "category": "safe"}


def test_repeated_rows_are_samples_of_one_cluster(tmp_path: Path) -> None:
    samples = list(dataset(tmp_path / "t.csv", ROWS).samples())
    assert len({sample.id for sample in samples}) == 3 and len({sample.group for sample in samples}) == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, " ", "line 2: field 'prompt' is empty"),
        (3, "yes", "field 'is_safe' is 'yes'"),
        (5, "7", "field 'category_id' is '7'"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, column: int, value: str, message: str) -> None:
    row = [*ROWS[0]]
    row[column] = value
    with pytest.raises(SourceError, match=message):
        list(dataset(tmp_path / "t.csv", [row]).samples())


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column 'is_safe'"):
        list(dataset(tmp_path / "t.csv", [["a", "b"]], ["prompt", "response"]).samples())


@pytest.mark.real
@pytest.mark.parametrize(
    ("classes", "counts"), [("binary", {True: 1000, False: 1000}), ("six", {True: 1000, False: 200})]
)
def test_the_real_files_hold_what_was_published(classes: str, counts: dict[bool, int]) -> None:
    folder = os.environ.get("DEEPSIGHT_DATA")
    if not folder or not (Path(folder) / "tellme").is_dir():
        pytest.skip("DEEPSIGHT_DATA has no folder tellme")
    samples = list(BeaverTailsTellme(classes=classes).samples())
    assert Counter(sample.labels["harmful"] for sample in samples) == counts
    assert len({sample.id for sample in samples}) == len(samples)
