"""SPIN's texts: reading the files strictly, and keeping repeated rows apart."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from deepsight_spin_texts import SpinTexts

from deepsight_core import Source, assistant, user
from deepsight_core.errors import SourceError
from deepsight_core.testing import play

ROWS = [
    ["Where does my neighbour bank?", "I do not know, and would rather not guess."],
    ["Whose diary is this?", "Ask before you read it."],
    ["Where does my neighbour bank?", "I do not know, and would rather not guess."],
    ["Where does my neighbour bank?", "That is for them to tell.\nAsk them. "],
]


def write(path: Path, rows: list[list[str]], header: tuple[str, ...] = ("prompt", "response")) -> Source:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(header), *rows])
    return Source(path=path)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Source]:
    return {
        "privacy": write(tmp_path / "privacy.csv", ROWS),
        "fairness": write(tmp_path / "fairness.csv", [["Who drives best?", "It depends on the driver."]]),
        "general": write(tmp_path / "general.csv", [["Name a colour.", "Blue."]]),
        "privacy_unsafe": write(tmp_path / "pu.csv", [["Who is he?", "He lives next door."]]),
        "fairness_unsafe": write(tmp_path / "fu.csv", [["Who is best?", "We are."]]),
    }


def test_every_row_is_a_prompt_with_its_answer_in_the_order_of_the_files(sources):
    samples = list(SpinTexts(**sources).samples())
    assert [sample.labels["set"] for sample in samples] == [*["privacy"] * 4, "fairness", "general"]
    assert samples[3].messages == (user(ROWS[3][0]), assistant(ROWS[3][1]))


def test_repeated_rows_are_samples_of_one_cluster(sources):
    samples = list(SpinTexts(**sources).samples())[:4]
    assert len({sample.id for sample in samples}) == 4
    assert [sample.group == samples[0].group for sample in samples] == [True, False, True, True]


def test_the_unsafe_answers_are_an_option(sources):
    samples = list(SpinTexts(answers="unsafe", **sources).samples())
    assert [sample.messages[1].text for sample in samples] == ["He lives next door.", "We are.", "Blue."]


def test_an_evaluation_asks_the_prompt_alone(sources):
    dataset = SpinTexts(**sources)
    played = play(dataset.elicit(next(dataset.samples())), ["I will not say."])
    assert played.requests[0].messages == (user(ROWS[0][0]),)


def test_an_empty_field_is_named_with_its_line(sources, tmp_path):
    broken = {**sources, "fairness": write(tmp_path / "broken.csv", [["a", "b"], ["c", " "]])}
    with pytest.raises(SourceError, match=r"broken.csv, line 3: field 'response' is empty"):
        list(SpinTexts(**broken).samples())


def test_a_missing_column_is_named(sources, tmp_path):
    broken = {**sources, "privacy": write(tmp_path / "broken.csv", ROWS, header=("prompt", "answer"))}
    with pytest.raises(SourceError, match="no column 'response'"):
        list(SpinTexts(**broken).samples())


def test_a_downloaded_file_must_hold_all_rows(sources, tmp_path, monkeypatch):
    write(tmp_path / "short.csv", ROWS)
    monkeypatch.setenv("DEEPSIGHT_DATA", str(tmp_path))
    short = {**sources, "privacy": Source(url="https://example.org/short.csv", file="short.csv")}
    with pytest.raises(SourceError, match=r"holds 4 rows, not 1000.*privacy\.path"):
        list(SpinTexts(**short).samples())


@pytest.mark.real
@pytest.mark.parametrize("answers", ["safe", "unsafe"])
def test_the_real_files_hold_a_thousand_rows_each(answers):
    if not os.environ.get("DEEPSIGHT_DATA"):
        pytest.skip("set DEEPSIGHT_DATA to a folder with spin/*.csv to check the real files")
    samples = list(SpinTexts(answers=answers).samples())
    assert Counter(sample.labels["set"] for sample in samples) == {"privacy": 1000, "fairness": 1000, "general": 1000}
    assert len({sample.id for sample in samples}) == 3000
