"""The joint run: one capture for all diagnostics, on the samples that were evaluated, and failures kept apart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deepsight_core import (
    Acts,
    Diagnosis,
    Diagnostic,
    Evidence,
    Finding,
    Geometry,
    Inside,
    Record,
    Sample,
    Want,
    run,
    user,
)
from deepsight_core.errors import CapabilityError, ConfigError, DiagnosticError
from deepsight_core.hub import Hub
from deepsight_core.protocol import Judgement, Output
from deepsight_core.session import Run
from deepsight_core.testing import GlassInside, GlassModel, ScriptedModel, TinyDataset


class Gap(Diagnostic):
    """Distance of the cohorts' means along the first coordinate, layer by layer."""

    name = "gap"
    layers: tuple[int, ...] | None = None

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [Want(layers=self.layers)]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        contrast = evidence.contrast()
        rows = acts.rows(contrast.ids)
        (want,) = self.wants(evidence, inside.geometry)
        findings = []
        for column, layer in enumerate(acts.layers[want]):
            first = acts[want][rows, column, 0, 0]
            gap = float(first[contrast.y == 1].mean() - first[contrast.y == 0].mean())
            findings.append(Finding(name=f"gap {layer}", value=gap))
        table = {
            id: {"answered": str(record.output.text != "")} for id in contrast.ids if (record := evidence.record(id))
        }
        return Diagnosis(diagnostic=self.name, findings=tuple(findings), table=table)


class Bug(Gap):
    name = "bug"

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        raise ZeroDivisionError("a mistake of the author")


HARMFUL = tuple(f"tiny-{number}" for number in range(0, 20, 2))


def joint(hub: Hub, out: Path, *diagnose: Any, **options: Any) -> Run:
    hub.adopt(Gap, Bug)
    model = GlassModel(planted=HARMFUL)
    return run(model, [TinyDataset(size=20)], diagnose, hub=hub, out=out, quiet=True, reports=[], **options)


def test_a_joint_run_diagnoses_the_samples_that_it_evaluated(hub: Hub, out: Path) -> None:
    made = joint(hub, out, "gap")
    (diagnosis,) = made.report.diagnoses
    gaps = [finding.value or 0.0 for finding in diagnosis.findings]
    assert max(map(abs, gaps[:2])) < 2 < 3 < min(gaps[2:]), "planted from layer 2 on"
    assert set(diagnosis.table) == {record.id for record in made.records()}
    assert diagnosis.table["tiny-0"] == {"answered": "True"}
    assert "activations of 20 prompts (20 computed)" in made.report.notes[-1]


def test_one_pass_serves_all_diagnostics(hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[GlassInside] = []

    def inside(self: GlassModel, store: Path | None = None) -> GlassInside:
        seen.append(GlassInside())
        return seen[-1]

    monkeypatch.setattr(GlassModel, "inside", inside)
    joint(hub, out, "gap", {"name": "gap", "layers": [1]})
    assert [one.passes for one in seen] == [1]


def test_a_diagnostic_that_fails_is_named_and_the_others_still_run(hub: Hub, out: Path) -> None:
    made = joint(hub, out, "bug", {"name": "gap", "layers": [7]}, "gap")
    broken, impossible, fine = made.report.diagnoses
    assert broken.error == "ZeroDivisionError: a mistake of the author"
    assert impossible.error is not None and "layer 7 is out of range" in impossible.error
    assert fine.error is None and fine.findings
    assert any("diagnostic gap failed: layer 7" in note for note in made.report.notes)
    assert made.report.counts["records"] == 20


class Careless(Gap):
    """Reports what is no number."""

    name = "careless"

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        findings = (Finding(name="ratio", value=math.inf, low=math.nan, p=-math.inf), Finding(name="fine", value=1.0))
        return Diagnosis(diagnostic=self.name, findings=findings, table={"tiny-0": {"place": math.nan}})


def test_no_file_of_a_run_holds_what_is_no_number(hub: Hub, out: Path) -> None:
    hub.adopt(Careless)
    made = joint(hub, out, "careless", "gap")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in a file of the run")

    for path in made.path.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    careless, fine = made.report.diagnoses
    assert fine.error is None and fine.findings
    assert [finding.value for finding in careless.findings] == [None, 1.0]
    assert careless.table == {"tiny-0": {"place": None}}


def test_diagnoses_can_be_added_to_a_finished_run(hub: Hub, out: Path) -> None:
    from deepsight_core.progress import Progress
    from deepsight_core.session import resume

    made = joint(hub, out, name="r")
    before = (made.path / "outputs.jsonl").read_bytes()
    resume(made.path, hub, Progress(quiet=True), [{"diagnostic": "gap", "contrast": "label:harmful"}])
    assert [diagnosis.diagnostic for diagnosis in made.report.diagnoses] == ["gap"]
    assert (made.path / "outputs.jsonl").read_bytes() == before


def test_a_data_set_can_be_diagnosed_without_being_asked(hub: Hub, out: Path) -> None:
    from deepsight_core.config import configure
    from deepsight_core.progress import Progress
    from deepsight_core.session import execute

    hub.adopt(Gap, GlassModel)
    roles = {"target": {"model": "glass", "planted": HARMFUL}}
    entry = {"diagnostic": "gap", "data": {"name": "tiny", "size": 12}, "limit": 8}
    made = execute(
        configure({"roles": roles, "diagnose": [entry], "out": out, "reports": []}), hub, Progress(quiet=True)
    )
    (diagnosis,) = made.report.diagnoses
    assert diagnosis.error is None and diagnosis.table == {}
    assert "activations of 8 prompts" in made.report.notes[-1]
    assert list(made.records()) == []


def test_a_model_that_cannot_be_looked_into_is_refused_before_anything_runs(hub: Hub, out: Path) -> None:
    hub.adopt(Gap)
    with pytest.raises(CapabilityError, match="'gap' needs a target with capability 'whitebox'"):
        run(ScriptedModel(), [TinyDataset()], ["gap"], hub=hub, out=out, quiet=True)


# --- Cohorts --------------------------------------------------------------------------------------


def evidence() -> Evidence:
    samples, records = [], []
    for number, (harmful, verdict) in enumerate(
        [
            (True, "refused"),
            (True, "complied"),
            (False, "complied"),
            (False, "refused"),
            (True, None),
            (None, "refused"),
        ]
    ):
        labels: dict[str, Any] = {} if harmful is None else {"harmful": harmful, "kind": "a" if number % 2 else "b"}
        sample = Sample(id=f"s{number}", messages=(user("x"),), labels=labels, group=f"g{number // 2}")
        status = "unparsed" if verdict is None else "scored"
        judged = Judgement(judge="j", label=verdict or "refused", status=status)  # type: ignore[arg-type]
        samples.append(sample)
        records.append(Record(dataset="d", sample=sample, output=Output(text=f"answer {number}"), judgements=(judged,)))
    return Evidence(tuple(samples), tuple(records))


def test_cohorts_are_chosen_by_label_by_value_and_by_verdict() -> None:
    assert evidence().cohort("label:harmful") == ("s0", "s1", "s4")
    assert evidence().cohort("label:harmful=false") == ("s2", "s3")
    assert evidence().cohort("label:kind=a") == ("s1", "s3")


def test_unscored_records_are_in_no_verdict_cohort() -> None:
    assert evidence().cohort("verdict:refused") == ("s0", "s3", "s5")
    assert evidence().cohort("verdict:complied") == ("s1", "s2")


def test_a_contrast_leaves_out_what_it_knows_nothing_about_and_says_so() -> None:
    contrast = evidence().contrast("label:harmful")
    assert contrast.ids == ("s0", "s1", "s2", "s3", "s4") and list(contrast.y) == [1, 1, 0, 0, 1]
    assert list(contrast.groups) == [0, 0, 1, 1, 2] and contrast.left_out == 1
    assert list(evidence().contrast("verdict:refused").y) == [1, 0, 0, 1, 1]


def test_a_contrast_with_one_side_only_is_refused_and_an_unknown_selector_named() -> None:
    with pytest.raises(DiagnosticError, match="needs samples on both sides, but no sample carries it"):
        evidence().contrast("label:colour")
    with pytest.raises(DiagnosticError, match="all 5 samples are on one side"):
        evidence().contrast("verdict:unheard-of")
    with pytest.raises(ConfigError, match="unknown selector 'harmful'"):
        evidence().contrast("harmful")


def test_prompts_carry_the_judged_answer_once_there_is_one() -> None:
    assert [prompt.answer for prompt in evidence().prompts][:2] == ["answer 0", "answer 1"]
    assert Evidence(evidence().samples).prompts[0].answer is None


# --- Data sets that share names or ids ------------------------------------------------------------


class Words(Gap):
    """Tells which prompts and answers it was shown."""

    name = "words"

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        first = evidence.prompts[0]
        return Diagnosis(diagnostic=self.name, summary=f"{first.messages[0].text} -> {first.answer}, {len(acts.ids)}")


def named(name: str, text: str) -> TinyDataset:
    class Other(TinyDataset):
        def samples(self) -> Any:
            for sample in super().samples():
                yield sample.model_copy(update={"messages": (user(f"{text} {sample.id}"),)})

    Other.name = name
    return Other()


def told(hub: Hub, out: Path, *entries: Any, evaluate: Sequence[Any] = (), **options: Any) -> list[str]:
    from deepsight_core.config import configure
    from deepsight_core.progress import Progress
    from deepsight_core.session import execute

    hub.adopt(Words, GlassModel)
    diagnose = [{"diagnostic": "words", **entry} for entry in entries]
    roles = {"target": {"model": "glass"}}
    table = {"roles": roles, "evaluate": evaluate, "diagnose": diagnose, "out": out, "reports": [], **options}
    made = execute(configure(table), hub, Progress(quiet=True))
    return [diagnosis.summary for diagnosis in made.report.diagnoses]


def test_each_diagnostic_sees_the_records_of_its_own_data_set(hub: Hub, out: Path) -> None:
    evaluate = [{"dataset": named("a", "A")}, {"dataset": named("b", "B")}]
    assert told(hub, out, {"datasets": ["a"]}, {"datasets": ["b"]}, evaluate=evaluate) == [
        "A tiny-0 -> you said: A tiny-0, 8",
        "B tiny-0 -> you said: B tiny-0, 8",
    ]


def test_ids_that_two_data_sets_share_are_refused_in_one_diagnosis_and_leave_no_run(hub: Hub, out: Path) -> None:
    evaluate = [{"dataset": named("a", "A")}, {"dataset": named("b", "B")}]
    with pytest.raises(ConfigError, match="'tiny-0' occurs in 'a' and in 'b'"):
        told(hub, out, {}, evaluate=evaluate, name="r")
    assert not (out / "r").exists()


def test_data_of_a_diagnostic_is_its_own_whatever_its_name(hub: Hub, out: Path) -> None:
    evaluate = [{"dataset": {"name": "tiny", "limit": 2}}]
    assert told(hub, out, {"data": "tiny"}, {"data": named("b", "B")}, {}, evaluate=evaluate, name="r") == [
        "question 0 -> None, 8",
        "B tiny-0 -> None, 8",
        "question 6 -> you said: question 6, 2",
    ]
    assert len(list(Run(out / "r").records())) == 2


def test_a_diagnosis_that_is_asked_for_again_is_not_listed_twice(hub: Hub, out: Path) -> None:
    from deepsight_core.progress import Progress
    from deepsight_core.session import resume

    made = joint(hub, out, "gap", name="r")
    environment = made.manifest.environment
    for _ in range(2):
        resume(
            made.path,
            hub,
            Progress(quiet=True),
            [{"diagnostic": "gap"}, {"diagnostic": {"name": "gap", "layers": [1]}}],
        )
    assert len(made.report.diagnoses) == 2
    assert made.manifest.environment == environment


class Beside(Gap):
    """Looks into a second model, too."""

    name = "beside"
    roles = ("reference",)

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        other = evidence.others["reference"].run([Want(layers=(0,))], evidence.prompts)
        return Diagnosis(diagnostic=self.name, summary=f"{len(other.ids)} prompts read twice")


def test_a_diagnostic_can_look_into_a_second_model(hub: Hub, out: Path) -> None:
    hub.adopt(Beside)
    made = joint(hub, out, "beside", roles={"reference": GlassModel(strength=1.0)})
    assert made.report.diagnoses[0].summary == "20 prompts read twice"


def test_a_second_model_that_is_not_bound_is_asked_for(hub: Hub, out: Path) -> None:
    hub.adopt(Beside)
    with pytest.raises(ConfigError, match="looks into the role 'reference', which is not bound"):
        joint(hub, out, "beside")
    with pytest.raises(CapabilityError, match="needs a reference with capability 'whitebox'"):
        joint(hub, out, "beside", roles={"reference": ScriptedModel()})


class Perhaps(Gap):
    """Looks into a second model where there is one."""

    name = "perhaps"
    optional_roles = ("reference",)

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        return Diagnosis(diagnostic=self.name, summary=", ".join(evidence.others) or "alone")


def test_a_second_model_may_be_optional(hub: Hub, out: Path) -> None:
    hub.adopt(Perhaps)
    assert joint(hub, out, "perhaps").report.diagnoses[0].summary == "alone"
    made = joint(hub, out, "perhaps", roles={"reference": GlassModel(strength=1.0)})
    assert made.report.diagnoses[0].summary == "reference"
    with pytest.raises(CapabilityError, match="needs a reference with capability 'whitebox'"):
        joint(hub, out, "perhaps", roles={"reference": ScriptedModel()})


class Answers(Gap):
    """Looks at answers."""

    name = "answers"

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [Want(layers=(0,), text="exchange")]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        return Diagnosis(diagnostic=self.name, summary=" ".join(acts.ids), caveats=("its own",))


def test_samples_without_an_answer_are_left_out_where_answers_are_read_and_counted(hub: Hub, out: Path) -> None:
    hub.adopt(Answers)
    model = GlassModel(script={"question 1": ""}, errors=("question 2",))
    made = run(model, [TinyDataset(size=4)], ["answers"], hub=hub, out=out, quiet=True, reports=[])
    (diagnosis,) = made.report.diagnoses
    assert diagnosis.summary == "tiny-0 tiny-3"
    assert diagnosis.caveats == (
        "its own",
        "2 samples have no answer to be read (failed or empty) and were left out.",
    )


def test_without_any_answer_a_diagnostic_of_answers_says_so(hub: Hub, out: Path) -> None:
    hub.adopt(Answers)
    model = GlassModel(errors=("question 0", "question 1"))
    made = run(model, [TinyDataset(size=2)], ["answers"], hub=hub, out=out, quiet=True, reports=[])
    assert "answers: none of the samples has an answer" in str(made.report.diagnoses[0].error)
