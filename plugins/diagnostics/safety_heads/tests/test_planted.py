"""A head that was planted is found, and named by what it does and not by what it breaks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deepsight_causal import RefusalTokens
from deepsight_safety_heads import SafetyHeads
from deepsight_safety_heads.screening import mean_heads, screen
from deepsight_safety_heads.silencing import Head, by_layer, silenced

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence, Repeat
from deepsight_core.protocol import Diagnosis, Finding, Judgement

torch = pytest.importorskip("torch")
pytest.importorskip("deepsight_torch", reason="deepsight-torch is not installed")
testing = pytest.importorskip("deepsight_torch.testing")
torch.set_num_threads(1)
OPTIONS = {"resamples": 200, "permutations": 200, "confirm": 4, "calibrate": 6, "set_size": 2}
TOKENS = RefusalTokens((testing.WORDS.index(testing.REFUSAL),), (testing.REFUSAL,), 9, 9, True)


def diagnosed(inside: Any, evidence: Evidence, **options: Any) -> Diagnosis:
    acts: Any = SimpleNamespace()
    return SafetyHeads.model_validate({**OPTIONS, **options}).diagnose(evidence, acts, inside)


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


def judged(inside: Any, evidence: Evidence) -> Evidence:
    """The evidence of a run that can ask again: what the open model writes is judged by its first word."""

    def again(name: str, edited: AbstractContextManager[None], ids: Any = None) -> Repeat:
        before = tuple(record for record in evidence.records if ids is None or record.id in ids)
        prompts = [prompt for prompt in evidence.prompts if ids is None or prompt.id in ids]
        with edited:
            written = inside.generate(prompts, 1)
        verdicts = ["refused" if one.text.strip() == testing.REFUSAL else "complied" for one in written]
        after = tuple(
            record.model_copy(update={"judgements": (Judgement(judge="j", label=verdict),)})
            for record, verdict in zip(before, verdicts, strict=True)
        )
        return Repeat(before, after)

    return replace(evidence, again=again)


@pytest.fixture(scope="module")
def planted() -> Diagnosis:
    inside = testing.refusing(layer=1, head=2)
    return diagnosed(inside, judged(inside, testing.twins(24)))


def test_the_head_comes_first_and_alone(planted: Diagnosis) -> None:
    first, *others = named(planted, "specific effect of a head")
    assert first.site is not None and (first.site.layer, first.site.head) == (1, 2)
    assert first.value is not None and first.value < -5 and first.high is not None and first.high < -5
    assert first.p is not None and first.p < 0.01 and first.evidence == "intervention"
    assert all(abs(one.value or 0) < 1 for one in others)
    assert "most of all head 2 of block 1" in planted.summary


def test_its_set_goes_beyond_random_sets_and_refusals_end(planted: Diagnosis) -> None:
    whole = next(one for one in planted.findings if one.name.endswith("together") and one.headline)
    assert whole.p is not None and whole.value is not None and whole.null_low is not None
    assert whole.p <= 0.2 and whole.value < -5
    (answers,), (control,) = (
        named(planted, name) for name in ("refusals without the heads", "control: refusals without random heads")
    )
    assert (answers.value, answers.headline) == (-1, True)
    assert control.evidence == "control"


def test_the_map_shows_it(planted: Diagnosis) -> None:
    (map_of_heads,) = planted.figures
    values = np.array(map_of_heads.values)
    assert np.unravel_index(values.argmin(), values.shape) == (1, 2)


def test_estimates_agree_in_sign_and_rank_with_silencing(planted: Diagnosis) -> None:
    (agreement,) = named(planted, "estimates against silencing")
    assert agreement.value is not None and agreement.value > 0.9


def test_silencing_towards_the_mean_finds_the_same_head() -> None:
    found = diagnosed(testing.refusing(layer=2, head=0), testing.twins(16), ablation="mean", generate=False)
    first = named(found, "specific effect of a head")[0]
    assert first.site is not None and (first.site.layer, first.site.head) == (2, 0)


def test_a_model_without_such_a_head_has_none() -> None:
    found = diagnosed(testing.refusing(strength=0), testing.twins(16, refuses=False))
    assert found.summary.startswith(
        "This model refused 0% of the harmful prompts: there is no refusal for a head to cause"
    )
    assert any("usual openings" in caveat for caveat in found.caveats)


def test_rows_of_one_batch_are_what_each_head_gives_alone() -> None:
    inside, prompts = testing.refusing(), testing.twins(4).prompts
    heads = [Head(1, 0), Head(1, 2), Head(3, 1)]
    towards = mean_heads(inside, prompts)
    together = by_layer(inside, TOKENS, prompts, heads, towards)
    for head in heads:
        (alone,) = silenced(inside, TOKENS, prompts, [[head]], towards)
        np.testing.assert_allclose(together[head].score, alone.score, atol=1e-5)
        np.testing.assert_allclose(together[head].divergence, alone.divergence, atol=1e-6)


def test_nothing_silenced_changes_nothing() -> None:
    (nothing,) = silenced(testing.refusing(), TOKENS, testing.twins(4).prompts, [[]], {})
    np.testing.assert_allclose(nothing.divergence, 0, atol=1e-9)


def test_an_estimate_is_exact_for_a_head_of_small_effect() -> None:
    inside, prompts = testing.refusing(strength=0), testing.twins(4).prompts
    heads, estimates = screen(inside, TOKENS, prompts, {})
    (before,) = silenced(inside, TOKENS, prompts, [[]], {})
    found = by_layer(inside, TOKENS, prompts, heads, {})
    exact = np.stack([found[head].score - before.score for head in heads], axis=1)
    assert np.corrcoef(estimates.ravel(), exact.ravel())[0, 1] > 0.95


def test_the_order_of_samples_changes_nothing() -> None:
    inside, evidence = testing.refusing(), testing.twins(8)
    turned = Evidence(evidence.samples[::-1], evidence.records[::-1])
    one, other = (diagnosed(inside, given).findings[0] for given in (evidence, turned))
    assert one.value == pytest.approx(other.value, abs=1e-6) and one.p == other.p


def test_one_class_is_refused() -> None:
    evidence = testing.twins(8)
    harmful = Evidence(evidence.samples[::2], evidence.records[::2])
    with pytest.raises(DiagnosticError, match="safety-heads: "):
        diagnosed(testing.refusing(), harmful)
