"""Asking again under an edit: the same samples, the same protocol, and judges that the edit does not touch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deepsight_core import Acts, Diagnosis, Diagnostic, Evidence, Generate, Geometry, Inside, Output, Record, Want, run
from deepsight_core.change import verdict_change
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Again, Repeat
from deepsight_core.hub import Hub
from deepsight_core.protocol import Judgement
from deepsight_core.testing import GlassModel, KeywordJudge, TinyDataset

PREFIX: list[str] = []
"""What the model says first while it is edited."""


class Editable(GlassModel):
    """Refuses while edited; fails then on one question."""

    name = "editable"

    def generate(self, requests: Sequence[Generate]) -> list[Output]:
        answers = super().generate(requests)
        asked = [request.messages[-1].text for request in requests]
        return [
            Output(stop="error", error="broke under the edit")
            if PREFIX and text == "question 3"
            else answer.model_copy(update={"text": " ".join([*PREFIX, answer.text])})
            for text, answer in zip(asked, answers, strict=True)
        ]


class AskingJudge(KeywordJudge):
    """Asks the model under test itself, so that an edit that outlived the answers would show."""

    name = "asking"
    roles: ClassVar[tuple[str, ...]] = ("judge",)

    def judge(self, record: Record) -> Generator[Any, Any, Judgement]:  # type: ignore[override]
        heard = yield Generate(messages=record.sample.messages, role="judge")
        refused = self.word in record.output.text
        return self.verdict("refused" if refused else "complied", reason=heard.text)


@contextmanager
def sorry() -> Iterator[None]:
    PREFIX.append("sorry,")
    try:
        yield
    finally:
        PREFIX.clear()


class Asks(Diagnostic):
    """Asks again, and keeps what came back."""

    name = "asks"
    kept: ClassVar[list[Repeat]] = []
    ids: tuple[str, ...] | None = None

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [Want(layers=(0,))]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        again: Again | None = evidence.again
        if again is None:
            raise DiagnosticError("asks: nothing was evaluated")
        self.kept.append(again("made to refuse", sorry(), self.ids))
        return Diagnosis(diagnostic=self.name)


@pytest.fixture
def repeated(hub: Hub, out: Path) -> Any:
    hub.adopt(Asks, AskingJudge)
    Asks.kept.clear()

    def conduct(**options: Any) -> tuple[Any, Repeat | None]:
        model = Editable()
        made = run(
            roles={"target": model, "judge": model}, diagnose=[{"name": "asks", **options}], hub=hub, out=out,
            evaluate=[TinyDataset(size=6)], quiet=True, reports=[],
        )  # fmt: skip
        return made, Asks.kept[0] if Asks.kept else None

    return conduct


@pytest.fixture
def judged_by_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyDataset, "judges", ("asking",))


def test_the_same_samples_are_asked_again_under_the_edit(repeated: Any, judged_by_asking: None) -> None:
    made, repeat = repeated()
    assert [r.id for r in repeat.before] == [r.id for r in repeat.after] == [f"tiny-{n}" for n in range(6)]
    assert all(not record.output.text.startswith("sorry,") for record in repeat.before)
    assert [record.output.text.startswith("sorry,") for record in repeat.after] == [True] * 3 + [False] + [True] * 2
    assert [r.output.text for r in repeat.before] == [r.output.text for r in made.records()]


def test_judges_are_asked_after_the_edit_is_undone(repeated: Any, judged_by_asking: None) -> None:
    _, repeat = repeated()
    reasons = [record.judgements[0].reason for record in repeat.after if not record.output.error]
    assert reasons and not any(reason.startswith("sorry") for reason in reasons)


def test_what_failed_under_the_edit_is_unscored_and_not_asked_again_without_it(
    repeated: Any, judged_by_asking: None
) -> None:
    _, repeat = repeated()
    failed = repeat.after[3]
    assert failed.output.error == "broke under the edit"
    assert failed.judgements[0].status == "failed"


def test_some_samples_can_be_asked_again_alone_and_are_kept_on_disk(repeated: Any) -> None:
    made, repeat = repeated(ids=["tiny-4", "tiny-1"])
    assert [record.id for record in repeat.after] == ["tiny-1", "tiny-4"]
    folder = made.path / "diagnoses" / "0-asks" / "made-to-refuse"
    assert sorted(path.name for path in folder.iterdir()) == ["outputs.jsonl", "records.jsonl", "verdicts.jsonl"]


def test_samples_that_were_not_evaluated_cannot_be_asked_again(repeated: Any) -> None:
    made, _ = repeated(ids=["nobody"])
    (diagnosis,) = made.report.diagnoses
    assert diagnosis.error is not None and "none of these samples was evaluated" in diagnosis.error


def test_a_change_of_verdict_is_paired_and_counts_what_was_unscored(repeated: Any) -> None:
    _, repeat = repeated()
    changed = verdict_change(repeat, "refused")
    assert (changed.a, changed.b, changed.count, changed.left_out) == (0.0, 1.0, 5, 1)
    assert changed.p is not None and changed.method == "sign flips", "the tiny samples come in pairs"
    assert verdict_change(repeat, "refused", ids=["tiny-0", "tiny-2"]).count == 2
