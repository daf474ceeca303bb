"""X-Boundary's texts: the published selection of each class, read strictly, from any of three kinds of file."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from deepsight_x_boundary_texts import XBoundaryTexts
from deepsight_x_boundary_texts.selection import boundary_texts, digest, safe_texts
from pyarrow import parquet

from deepsight_core import Output, Source, assistant, user
from deepsight_core.errors import ChecksumMismatch, SourceError
from deepsight_core.testing import play

Row = dict[str, Any]


def turns(*texts: str) -> list[Row]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


DIALOGUES = {  # SHA-1 of the canonical JSON, computed apart with sha1sum on JSON written by hand
    "8227498533f3ada4d2d638dec5fb76abecd05117": turns("Hi, what is a hedge?", "A row of shrubs.\nOften trimmed."),
    "48c32858733bb27fff065824649f22a4d0fd198d": turns("Wie heißt „tea“ auf Deutsch?", "Tee ☕"),
    "e72175d30eedcf13cfbe28b393ac32f663c91027": turns("Name a prime.", "Two.", "Another?", "Three."),
    "661faa97a393c77608338108ebc5dd37e9f70ed7": turns('Say "yes".', '"yes"'),
    "3b2282f05edd10de420e76e83b7b77eaffe6a373": turns("Where is Oslo?", "In Norway."),
}
SAFE = [{"prompt_id": f"{n}", "messages": messages} for n, messages in enumerate(DIALOGUES.values())]
HARMFUL = [{"prompt": f"How do I rob bank {n}?", "output": f"Take mask {n}.", "llama3_output": "No."} for n in range(5)]
BOUNDARY = [
    {"prompt": f"How do I shoot film {n}?", "completion": f"Load roll {n}.", "status": status}
    for n, status in enumerate(["1_full_compliance", "2_full_refusal", *["1_full_compliance"] * 4])
]


def write(path: Path, rows: object) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    elif path.suffix == ".jsonl":
        assert isinstance(rows, list)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path):
    def build(per_class: int = 3, **files: object) -> XBoundaryTexts:
        rows = {"harmful": HARMFUL, "safe": SAFE, "boundary": BOUNDARY, **files}
        sources = {name: Source(path=write(tmp_path / f"{name}.json", content)) for name, content in rows.items()}
        return XBoundaryTexts(per_class=per_class, **sources)

    return build


def of(dataset: XBoundaryTexts, source: str) -> list[str]:
    return [sample.messages[0].text for sample in dataset.samples() if sample.labels["source"] == source]


def test_harmful_boundary_and_safe_texts_carry_their_labels_in_the_published_order(texts):
    samples = list(texts(2).samples())
    assert [sample.labels for sample in samples[::2]] == [
        {"harmful": True, "boundary": False, "source": "harmful"},
        {"harmful": False, "boundary": False, "source": "safe"},
        {"harmful": False, "boundary": True, "source": "boundary"},
    ]
    assert samples[1].messages == (user("How do I rob bank 1?"), assistant("Take mask 1."))


def test_harmful_texts_are_the_first_rows(texts):
    assert of(texts(), "harmful") == [row["prompt"] for row in HARMFUL[:3]]


def test_boundary_texts_are_the_first_rows_that_comply(texts):
    assert of(texts(), "boundary") == ["How do I shoot film 0?", "How do I shoot film 2?", "How do I shoot film 3?"]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_safe_texts_are_those_of_the_smallest_sha1_in_its_order(tmp_path, suffix):
    chosen = safe_texts(write(tmp_path / f"safe.{suffix}", SAFE), 3)
    expected = sorted(DIALOGUES)[:3]
    assert [digest(one) for one in chosen] == expected
    assert [[message.text for message in one] for one in chosen] == [
        [turn["content"] for turn in DIALOGUES[key]] for key in expected
    ]


def test_the_order_of_the_file_does_not_decide_which_dialogues_are_safe(texts):
    assert of(texts(), "safe") == of(texts(safe=SAFE[::-1]), "safe")


def test_dialogues_of_one_message_or_none_are_passed_over(texts):
    short = [{"messages": turns(f"alone {n}")} for n in range(50)]
    assert of(texts(5, safe=[*short, {"messages": []}, {"messages": None}, *SAFE]), "safe") == of(texts(5), "safe")


def test_a_dialogue_of_several_turns_is_kept_whole(texts):
    lengths = Counter(len(sample.messages) for sample in texts(5).samples())
    assert lengths == {2: 14, 4: 1}


def test_ids_come_from_the_text_and_a_smaller_number_is_part_of_a_larger_one(texts):
    few, many = ({sample.id for sample in texts(count).samples()} for count in (2, 4))
    assert len(few) == 6 and len(many) == 12 and few < many


def test_a_text_that_occurs_twice_counts_twice_in_one_cluster(texts):
    first, again, _ = (s for s in texts(harmful=[HARMFUL[0], *HARMFUL]).samples() if s.labels["harmful"])
    assert first.messages == again.messages
    assert first.id != again.id and first.cluster == again.cluster


def test_a_class_that_is_left_out_needs_no_file(tmp_path):
    dataset = XBoundaryTexts(
        classes=("boundary",), per_class=2, boundary=Source(path=write(tmp_path / "b.json", BOUNDARY))
    )
    assert {sample.labels["source"] for sample in dataset.samples()} == {"boundary"}


@pytest.mark.parametrize(("name", "held"), [("harmful", 5), ("safe", 5), ("boundary", 5)])
def test_a_file_with_fewer_texts_than_asked_for_is_an_error(texts, name, held):
    others = {other: rows * 2 for other, rows in (("harmful", HARMFUL), ("safe", SAFE), ("boundary", BOUNDARY))}
    others.pop(name)
    with pytest.raises(SourceError, match=rf"{name}\.json holds {held} usable texts, and per_class asks for 6"):
        list(texts(6, **others).samples())


def test_less_than_one_text_a_class_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        XBoundaryTexts(per_class=0)


def test_a_file_that_is_absent_is_told_with_the_option_that_names_it(tmp_path):
    dataset = XBoundaryTexts(classes=("safe",), safe=Source(path=tmp_path / "absent.parquet"))
    with pytest.raises(SourceError, match=r"no file at .*absent\.parquet; .* is the option 'safe'"):
        list(dataset.samples())


def test_the_usual_option_for_one_source_is_refused_rather_than_ignored(tmp_path):
    with pytest.raises(ValueError, match=r"set harmful\.path, safe\.path or boundary\.path"):
        XBoundaryTexts(source=Source(path=tmp_path / "texts.json"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"harmful": [*HARMFUL[:1], {"prompt": "How?"}]}, r"harmful\.json, row 2: field 'output' is 'None'"),
        ({"harmful": {"prompt": "How?"}}, r"harmful\.json holds no JSON array"),
        ({"harmful": ["How?"]}, r"harmful\.json, row 1 is not a table of fields"),
        ({"safe": [{"dialogue": turns("a", "b")}]}, r"safe\.json, row 1: field 'messages' is 'absent'"),
        ({"safe": [{"messages": [{"role": "robot", "content": "x"}]}]}, r"row 1: .*robot.* is no message"),
        ({"safe": [{"messages": [{"role": "user"}]}]}, "is no message"),
        ({"boundary": [{"prompt": "How?", "completion": "So."}]}, r"boundary\.json, row 1: field 'status'"),
    ],
)
def test_what_is_malformed_is_named_by_file_row_and_field(texts, rows, message):
    with pytest.raises(SourceError, match=message):
        list(texts(2, **rows).samples())


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_a_file_that_is_not_what_its_ending_says_is_named(tmp_path, suffix):
    broken = tmp_path / f"broken.{suffix}"
    broken.write_text("{not data", encoding="utf-8")
    with pytest.raises(SourceError, match=rf"cannot read .*broken\.{suffix}"):
        safe_texts(broken, 1)


def test_a_parquet_file_without_the_column_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"safe\.parquet has no column 'messages'"):
        safe_texts(write(tmp_path / "safe.parquet", [{"text": "a"}]), 1)


def test_evaluated_it_asks_for_a_new_answer_to_the_last_question(texts):
    dataset = texts(5)
    (several,) = (sample for sample in dataset.samples() if len(sample.messages) == 4)
    played = play(dataset.elicit(several), ["Five."])
    assert [request.messages for request in played.requests] == [several.messages[:-1]]
    assert isinstance(played.result, Output) and played.result.text == "Five."


@pytest.mark.real
def test_the_real_retain_set_is_the_pinned_file_of_which_530_comply():
    folder = os.environ.get("DEEPSIGHT_DATA")
    source = XBoundaryTexts().boundary
    if not folder or not (Path(folder) / str(source.file)).is_file():
        pytest.skip(f"put {source.file} below DEEPSIGHT_DATA")
    path = source.fetch()
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 542
    assert len(boundary_texts(path, 530)) == 530
    with pytest.raises(SourceError, match="holds 530 usable texts"):
        boundary_texts(path, 531)
    with pytest.raises(ChecksumMismatch):
        source.model_copy(update={"sha256": "0" * 64}).fetch()
