"""What a recording answers, and what it refuses to answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deepsight_replay import Replay

from deepsight_core.errors import ConfigError, ModelError
from deepsight_core.protocol import Exchange, Generate, Output, Record, Sample, assistant, system, user


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ask(model: Replay, *messages: object) -> Output:
    with model.opened():
        return model.generate([Generate(messages=messages)])[0]


def test_a_prompt_is_answered_as_recorded(tmp_path):
    path = written(tmp_path / "a.jsonl", {"prompt": "Hi?", "response": "Hello."}, {"prompt": "Bye?", "response": ""})
    assert ask(Replay(path=path), user("Hi?")).text == "Hello."
    assert ask(Replay(path=path), user("Bye?")) == Output(text="")


def test_a_csv_file_serves_as_well_whatever_its_columns_are_called(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffask,said\n"one, two","line\nbreak"\n', encoding="utf-8")
    model = Replay(path=path, prompt_field="ask", answer_field="said")
    assert ask(model, system("Be brief."), user("one, two")).text == "line\nbreak"


def test_a_prompt_that_was_not_recorded_is_an_error_not_an_empty_answer(tmp_path):
    output = ask(Replay(path=written(tmp_path / "a.jsonl", {"prompt": "Hi?", "answer": "x"})), user("Ho?"))
    assert output.stop == "error"
    assert "no recorded answer" in output.error
    assert "Ho?" in output.error


def test_a_whole_conversation_is_told_from_another_with_the_same_end(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": first}, {"role": "assistant", "content": "ok"},
                      {"role": "user", "content": "go on"}], "completion": first.upper()}
        for first in ("a", "b")
    ]  # fmt: skip
    model = Replay(path=written(tmp_path / "a.jsonl", *rows))
    assert ask(model, user("b"), assistant("ok"), user("go on")).text == "B"
    assert ask(model, user("go on")).error


def test_the_records_of_a_run_are_replayed_turn_by_turn_and_its_failures_are_not(tmp_path):
    first, second = (user("a"),), (user("a"), assistant("A"), user("b"))
    turns = tuple(
        Exchange(request=Generate(messages=asked), reply=Output(text=said, tokens_out=3))
        for asked, said in ((first, "A"), (second, "B"))
    )
    records = [
        Record(dataset="d", sample=Sample(id="1", messages=first), transcript=turns, output=Output(text="A B")),
        Record(dataset="d", sample=Sample(id="2", messages=(user("c"),)), output=Output(text="C", reasoning="hm")),
        Record(dataset="d", sample=Sample(id="3", messages=(user("d"),)), output=Output(stop="error", error="down")),
    ]
    model = Replay(path=written(tmp_path / "records.jsonl", *(record.model_dump(mode="json") for record in records)))
    assert ask(model, *second) == Output(text="B", tokens_out=3)
    assert ask(model, user("c")).reasoning == "hm"
    assert "no recorded answer" in ask(model, user("d")).error


def test_two_answers_to_one_prompt_are_refused_naming_the_rows_and_a_repetition_is_not(tmp_path):
    row = {"prompt": "p", "answer": "x"}
    assert ask(Replay(path=written(tmp_path / "same.jsonl", row, row)), user("p")).text == "x"
    with pytest.raises(ConfigError, match="rows 1 and 3"):
        Replay(path=written(tmp_path / "a.jsonl", row, row, {**row, "answer": "y"})).open()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "p", "text": "x"}', "no column response or completion or answer among prompt, text"),
        ('{"prompt": "p", "answer": "x", "response": "y"}', "more than one column"),
        ('{"prompt": "p", "answer": 3}', "row 1: the answer is no text"),
        ('{"prompt": 3, "answer": "x"}', "row 1: the prompt is neither"),
        ('{"sample": 1, "output": 2}', "looks like a run's record"),
        ("not json", "neither a CSV file"),
        ("", "holds no answers"),
    ],
)
def test_a_file_that_cannot_be_understood_says_why(tmp_path, text, said):
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        Replay(path=tmp_path / "a.jsonl").open()


def test_a_missing_file_names_the_option(tmp_path):
    with pytest.raises(ConfigError, match="option path"):
        Replay(path=tmp_path / "none.jsonl").open()


def test_the_digest_follows_the_content_not_the_name(tmp_path):
    one, same = (written(tmp_path / name, {"prompt": "p", "answer": "x"}) for name in ("a.jsonl", "b.jsonl"))
    other = written(tmp_path / "c.jsonl", {"prompt": "p", "answer": "y"})
    assert Replay(path=one).digest() == Replay(path=same).digest() != Replay(path=other).digest()


def test_a_closed_recording_says_that_it_is_closed(tmp_path):
    with pytest.raises(ModelError, match="not open"):
        Replay(path=tmp_path / "a.jsonl").generate([Generate(messages=(user("p"),))])
