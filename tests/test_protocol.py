"""The value objects."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from deepsight_core import (
    Exchange,
    Finding,
    Generate,
    Image,
    Judgement,
    LogLikelihood,
    Message,
    Output,
    Record,
    Sample,
    Site,
    assistant,
    content_id,
    system,
    user,
)
from deepsight_core.errors import ChecksumMismatch, SourceError

PICTURE = Image(uri="data:image/png;base64,aGVsbG8=", media_type="image/png")


def full_record() -> Record:
    messages = (system("be kind"), user("look:", PICTURE, "what is it?"), assistant("a cat"))
    sample = Sample(id="s", messages=messages, target=["a", 1], group="g", labels={"harmful": True, "n": 1.5})
    question = Generate(messages=messages, temperature=0.5, stop=("\n",), seed=0, samples=2, role="judge", tag="x")
    return Record(
        dataset="d",
        sample=sample,
        transcript=(
            Exchange(request=question, reply=Output(text="ja", reasoning="hm", tokens_in=3, tokens_out=1)),
            Exchange(
                request=LogLikelihood(messages=messages, continuations=("A", "B")),
                reply=Output(stop="error", error="x"),
            ),
        ),
        output=Output(text="ja", stop="length"),
        judgements=(Judgement(judge="j", label="refused", score=0.5, categories=("c",), reason="why"),),
    )


def test_a_record_survives_a_round_trip_through_json_unchanged() -> None:
    record = full_record()
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_values_are_immutable_and_refuse_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        user("hi").role = "system"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Output(text="hi", tekst="hi")  # type: ignore[call-arg]


def test_labels_keep_their_type_so_that_true_is_not_one() -> None:
    labels = Sample.model_validate_json(full_record().sample.model_dump_json()).labels
    assert labels["harmful"] is True


def test_a_message_of_parts_gives_its_text_and_its_media_apart() -> None:
    message = user("look:", PICTURE, "what is it?")
    assert message.text == "look:\nwhat is it?"
    assert message.media == (PICTURE,)
    assert user("plain") == Message(role="user", content="plain")


def test_content_ids_are_stable_and_depend_on_every_part() -> None:
    assert content_id("a", 1) == content_id("a", 1) != content_id("a", 2)
    assert content_id("ab", "c") != content_id("a", "bc")


def test_media_are_read_from_data_addresses_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(b"hello")
    assert PICTURE.read() == b"hello"
    assert Image(uri=str(tmp_path / "a b.png"), media_type="image/png").read() == b"hello"
    assert Image(uri=(tmp_path / "a b.png").as_uri(), media_type="image/png").read() == b"hello"


def test_altered_media_are_refused_and_missing_ones_named() -> None:
    good = PICTURE.model_copy(update={"sha256": hashlib.sha256(b"hello").hexdigest()})
    assert good.read() == b"hello"
    with pytest.raises(ChecksumMismatch):
        PICTURE.model_copy(update={"sha256": "0" * 64}).read()
    with pytest.raises(SourceError, match=r"nowhere\.png"):
        Image(uri="nowhere.png", media_type="image/png").read()


def test_the_first_judge_speaks_unless_another_is_named() -> None:
    record = full_record().model_copy(
        update={"judgements": (Judgement(judge="a", score=1), Judgement(judge="b", score=0))}
    )
    first, second = record.judgement(), record.judgement("b")
    assert first is not None and first.judge == "a"
    assert second is not None and second.judge == "b"
    assert record.judgement("c") is None


def test_replies_are_found_by_the_tag_of_their_request() -> None:
    assert [reply.error for reply in full_record().replies("x")] == [None]
    assert full_record().replies("other") == ()


def test_json_never_holds_nan() -> None:
    finding = Finding(name="f", value=float("nan"), low=float("inf"), site=Site(kind="resid_out", layer=3))
    assert "NaN" not in finding.model_dump_json() and "Infinity" not in finding.model_dump_json()


def test_an_error_says_why_and_a_scored_verdict_says_what() -> None:
    with pytest.raises(ValidationError, match="error message"):
        Output(stop="error")
    with pytest.raises(ValidationError, match="needs a label or a score"):
        Judgement(judge="j")
    with pytest.raises(ValidationError):
        Sample(id="s", messages=(user("x"),), labels={"n": float("nan")})
