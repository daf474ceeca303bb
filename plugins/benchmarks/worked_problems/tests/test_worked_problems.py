"""Worked problems: reading strictly, and judging the number that an answer arrives at."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
from deepsight_worked_problems import GSM8K, FinalNumber, MathTrain12k
from deepsight_worked_problems.final_number import final_number

from deepsight_core import Output, Record, Sample, Source, user
from deepsight_core.errors import SourceError
from deepsight_core.testing import play

ROWS = [
    {"question": "A hen lays 3 eggs a day. How many in 4 days?", "answer": "3*4 = <<3*4=12>>12 eggs.\n#### 12"},
    {"question": "A boat costs $1,500 and is sold for $400. The loss?", "answer": "1,500-400=1,100.\n#### 1,100"},
]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def gsm8k(path: Path) -> GSM8K:
    return GSM8K(source=Source(path=path))


def test_the_problem_is_asked_as_it_is_and_the_solution_is_the_target(tmp_path):
    dataset = gsm8k(write(tmp_path / "test.jsonl", ROWS))
    first, second = dataset.samples()
    assert first.messages == (user(ROWS[0]["question"]),)
    assert second.target == ROWS[1]["answer"]
    played = play(dataset.elicit(first), ["It lays 12."])
    assert [request.messages for request in played.requests] == [first.messages]


def test_ids_survive_reordering_and_a_repeated_problem_is_one_cluster(tmp_path):
    ids = [sample.id for sample in gsm8k(write(tmp_path / "a.jsonl", ROWS)).samples()]
    turned = list(gsm8k(write(tmp_path / "b.jsonl", [ROWS[1], ROWS[0], ROWS[0]])).samples())
    assert [sample.id for sample in turned[:2]] == ids[::-1]
    assert len({sample.id for sample in turned}) == 3
    assert turned[1].cluster == turned[2].cluster


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "x", "answer": " "}', "line 2: field 'answer' is missing or empty"),
        ('{"answer": "#### 1"}', "line 2: field 'question' is missing or empty"),
        ("[1]", "line 2: not a JSON object"),
        ("{", "line 2: not JSON"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        list(gsm8k(path).samples())


def test_a_fetched_file_with_too_few_problems_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "some.jsonl", ROWS)
    monkeypatch.setenv("DEEPSIGHT_DATA", str(tmp_path))
    with pytest.raises(SourceError, match="holds 2 problems, the test split 1319"):
        list(GSM8K(source=Source(url="https://example.org/some.jsonl", file="some.jsonl")).samples())


def test_math_problems_come_from_a_csv_with_line_breaks(tmp_path):
    path = tmp_path / "math.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["problem", "solution"], ["What is $1+1$?\nSay.", "It is $\\boxed{2}$."]])
    (sample,) = MathTrain12k(source=Source(path=path)).samples()
    assert sample.messages == (user("What is $1+1$?\nSay."),)
    assert sample.target == "It is $\\boxed{2}$."


def test_a_csv_without_solutions_is_refused(tmp_path):
    path = tmp_path / "math.csv"
    path.write_text("problem\nWhat?\n", encoding="utf-8")
    with pytest.raises(SourceError, match="field 'solution' is missing"):
        list(MathTrain12k(source=Source(path=path)).samples())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3*4 = <<3*4=12>>12 eggs.\n#### 12", "12"),
        ("So the loss is $1,100.", "1100"),
        ("She has 3.50 dollars left.", "3.5"),
        ("The change is -4 degrees.", "-4"),
        ("10-4", "4"),
        ("10 − 4", "4"),
        ("It fell by -$20.", "-20"),
        ("#### 18 dollars, as in step 2", "18"),
        ("Thus \\boxed{42}, see page 7.", "42"),
        ("1, 2, 3", "3"),
        ("The answer is 72.", "72"),
        ("The result is 5.0", "5"),
        ("none", None),
        ("#### none, but 3 is close", "3"),
    ],
)
def test_an_answer_arrives_at_its_marked_number_or_at_its_last(text, number):
    assert final_number(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("3 eggs a day make 12 eggs.", ("scored", "correct")),
        ("12.0", ("scored", "correct")),
        ("Twelve.", ("scored", "wrong")),
        ("12 eggs in 4 days.", ("scored", "wrong")),
        (" ", ("unparsed", None)),
    ],
)
def test_the_judge_compares_final_numbers(text, verdict):
    sample = Sample(id="s", messages=(user("x"),), target=ROWS[0]["answer"])
    judgement = FinalNumber().judge(Record(dataset="gsm8k", sample=sample, output=Output(text=text)))
    assert (judgement.status, judgement.label) == verdict


def test_a_problem_whose_solution_has_no_number_is_not_judged():
    sample = Sample(id="s", messages=(user("x"),), target="a proof")
    judgement = FinalNumber().judge(Record(dataset="d", sample=sample, output=Output(text="1")))
    assert judgement.status == "unparsed"


@pytest.mark.real
def test_the_real_rows_are_those_of_the_pinned_file(tmp_path):
    folder = os.environ.get("DEEPSIGHT_DATA")
    path = Path(folder or ".") / "gsm8k" / "test.jsonl"
    if not folder or not path.is_file():
        pytest.skip("set DEEPSIGHT_DATA to a folder with gsm8k/test.jsonl to check the real file")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    plain = write(tmp_path / "test.jsonl", [{key: row[key] for key in ("question", "answer")} for row in rows])
    assert hashlib.sha256(plain.read_bytes()).hexdigest() == GSM8K().source.sha256
    samples = list(gsm8k(plain).samples())
    assert len({sample.id for sample in samples}) == len({sample.group for sample in samples}) == 1319
    right = (Record(dataset="gsm8k", sample=s, output=Output(text=str(s.target))) for s in samples)
    assert all(FinalNumber().judge(record).label == "correct" for record in right)
