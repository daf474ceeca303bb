"""The diagnosis finds the head and the neuron that were planted, and claims no more than silencing shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Repeat
from deepsight_core.protocol import Diagnosis, Finding, Judgement


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


def test_the_planted_head_and_its_layer_come_first(planted: Any) -> None:
    diagnosis = planted().diagnose()
    best, *rest = named(diagnosis, "direct effect of a head")
    assert (best.site.layer, best.site.head) == (2, 0)
    assert best.value == pytest.approx(5, abs=0.8)
    assert best.low > best.null_high and best.p == 1 / 200
    assert all(finding.p > 0.05 for finding in rest)
    profile = {f.site.layer: f.value for f in named(diagnosis, "direct effect") if f.site.kind == "attn_out"}
    assert max(profile, key=lambda layer: profile[layer]) == 2


def test_the_planted_neuron_is_found_on_one_half_and_seen_on_the_other(planted: Any) -> None:
    best, *_ = named(planted().diagnose(), "direct effect of a neuron")
    assert (best.site.layer, best.site.unit) == (2, 0)
    assert best.count == 24
    assert best.value == pytest.approx(5, abs=1.2)
    assert "Raises 'word'" in best.summary


def test_parts_that_change_nothing_when_silenced_have_no_causal_role(planted: Any) -> None:
    """The glass model writes down direct effects, but its answers do not pass its heads."""
    diagnosis = planted().diagnose()
    (found,) = named(diagnosis, "refusal score after silencing heads")
    assert found.evidence == "intervention" and found.value == 0
    assert "no causal role is shown" in diagnosis.summary


def test_attention_and_mlps_share_the_whole_gap(planted: Any) -> None:
    diagnosis = planted().diagnose()
    shares = {f.name.partition(": ")[2]: f for f in diagnosis.findings if f.name.startswith("share of the gap")}
    assert sum(finding.value for finding in shares.values()) == pytest.approx(1)
    assert shares["attention"].low > 0.5


def test_without_a_gap_there_is_no_share_of_it(planted: Any) -> None:
    diagnosis = planted(strength=0.0).diagnose()
    assert {f.value for f in diagnosis.findings if f.name.startswith("share of the gap")} == {None}
    assert "no more than shuffled labels give" in diagnosis.summary


def test_a_model_that_hardly_refuses_gets_no_claim_about_its_refusals(planted: Any) -> None:
    diagnosis = planted(refused=lambda number: number == 0).diagnose()
    assert "refuses too rarely (1 of 48 answers)" in diagnosis.summary
    assert not named(diagnosis, "direct effect where refused")


def test_the_order_of_the_samples_changes_nothing(planted: Any) -> None:
    assert planted().diagnose().findings == planted(order=-1).diagnose().findings


def test_the_map_holds_every_head(planted: Any) -> None:
    (figure,) = planted().diagnose().figures
    assert (len(figure.rows), len(figure.columns)) == (4, 2)
    assert figure.values[2][0] == max(value for row in figure.values for value in row)


def test_noise_is_found_beyond_the_null_in_few_seeds(planted: Any) -> None:
    options = {"strength": 0.0, "neurons": 0, "heads": 0, "permutations": 199}
    found = 0
    for seed in range(100):
        diagnosis = planted(seed=f"{seed}-", **options).diagnose()
        found += any(f.p <= 0.05 for f in diagnosis.findings if f.name in ("direct effect", "direct effect of a head"))
    assert found <= 10  # 5 are expected; more than 10 come about once in 100


def test_a_run_without_answers_is_refused_with_its_reason(planted: Any) -> None:
    world = planted()
    empty = type(world)(type(world.evidence)(world.evidence.samples), world.inside, world.diagnostic)
    with pytest.raises(DiagnosticError, match="logit-attribution: no scored answers"):
        empty.diagnose()


def test_where_silencing_lowers_the_score_the_samples_are_asked_again(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose score hangs on the planted head, and that answers everything without it."""
    asked: list[str] = []

    def scores(inside: Any, prompts: Any, tokens: Any, edits: Any = ()) -> np.ndarray:
        hit = any(edit.site == "head" and edit.layers == (2,) and 0 in edit.units for edit in edits)
        return np.linspace(0, 1, len(prompts)) - 4 * hit

    def again(name: str, edited: Any, ids: Any = None) -> Repeat:
        asked.append(name)
        before = tuple(record for record in world.evidence.records if record.id in ids)
        answered = (Judgement(judge="j", label="complied"),)
        return Repeat(before, tuple(record.model_copy(update={"judgements": answered}) for record in before))

    monkeypatch.setattr("deepsight_logit_attribution.diagnostic.scores", scores)
    world = planted()
    diagnosis = replace(world, evidence=replace(world.evidence, again=again)).diagnose()
    (score,) = named(diagnosis, "refusal score after silencing heads")
    (answers,) = named(diagnosis, "refusals after silencing heads")
    assert (score.value, answers.value) == (-4, -1)
    assert asked == ["silenced heads"]
    assert "the effect is causal" in diagnosis.summary
