"""A tiny transformer with a head that refuses: the layer of the head is what refusal needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deepsight_safety_layers import SafetyLayers
from deepsight_safety_layers.skipping import Tried, choose, windows

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Diagnosis, Finding

torch = pytest.importorskip("torch")
pytest.importorskip("deepsight_torch", reason="deepsight-torch is not installed")
testing = pytest.importorskip("deepsight_torch.testing")
torch.set_num_threads(1)


def diagnosed(inside: Any, evidence: Evidence, **options: Any) -> Diagnosis:
    diagnostic = SafetyLayers.model_validate({"window": 1, "permutations": 60, "resamples": 100, **options})
    acts = inside.run(diagnostic.wants(evidence, inside.geometry), evidence.prompts)
    return diagnostic.diagnose(evidence, acts, inside)


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


@pytest.fixture(scope="module")
def planted() -> Diagnosis:
    return diagnosed(testing.refusing(layer=2, head=1), testing.twins(24))


def test_the_block_of_the_planted_head_is_what_refusal_falls_without(planted: Diagnosis) -> None:
    changes = {f.site.layer: f.value for f in named(planted, "skipping one block: refusal score, harmful") if f.site}
    assert min(changes, key=lambda layer: changes[layer] or 0) == 2 and changes[2] < -3
    (fell,) = named(planted, "refusal score of harmful prompts without the chosen window")
    assert fell.evidence == "intervention" and "block 2 left out" in fell.summary and fell.high < -3
    assert fell.value < fell.null_low


def test_three_other_windows_are_too_few_to_be_sure_and_the_summary_says_so(planted: Diagnosis) -> None:
    assert "best candidate is block 2" in planted.summary


def test_a_model_that_hardly_refuses_needs_no_layers_for_it() -> None:
    diagnosis = diagnosed(testing.refusing(strength=0.0), testing.twins(24, refuses=False))
    assert "hardly refuses" in diagnosis.summary
    assert any("too rarely to learn" in caveat for caveat in diagnosis.caveats)


def test_without_a_run_to_ask_again_scores_remain_and_the_caveat_says_so(planted: Diagnosis) -> None:
    assert any("Nobody was asked again" in caveat for caveat in planted.caveats)


def test_the_order_of_the_samples_changes_nothing(planted: Diagnosis) -> None:
    evidence = testing.twins(24)
    turned = replace(evidence, samples=evidence.samples[::-1], records=evidence.records[::-1])
    other = diagnosed(testing.refusing(layer=2, head=1), turned)
    assert [f.value for f in other.findings] == pytest.approx([f.value for f in planted.findings], abs=1e-4)


def test_every_number_is_finite_and_survives_json(planted: Diagnosis) -> None:
    assert Diagnosis.model_validate_json(planted.model_dump_json()) == planted


def test_a_window_of_the_whole_model_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="safety-layers: window is 4, but the model has 4 blocks"):
        diagnosed(testing.refusing(), testing.twins(24), window=4)


def test_windows_that_break_the_model_are_not_chosen() -> None:
    gentle, breaking = Tried((1,), -2, 0, 0.1), Tried((0,), -9, -5, 4.0)
    assert choose([breaking, gentle]) is gentle
    assert windows(4, 2) == [(0, 1), (1, 2), (2, 3)]
    assert np.isfinite(gentle.harmful)
