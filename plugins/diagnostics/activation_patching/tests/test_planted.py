"""A head that was planted is found: the layer at which it writes, and the head itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deepsight_activation_patching import ActivationPatching

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Diagnosis, Finding

torch = pytest.importorskip("torch")
pytest.importorskip("deepsight_torch", reason="deepsight-torch is not installed")
testing = pytest.importorskip("deepsight_torch.testing")
torch.set_num_threads(1)
OPTIONS = {"pairs": 12, "resamples": 200, "permutations": 200, "confirm": 3, "calibrate": 4, "positions": 3}


def diagnosed(inside: Any, evidence: Evidence, **options: Any) -> Diagnosis:
    acts: Any = SimpleNamespace()
    return ActivationPatching.model_validate({**OPTIONS, **options}).diagnose(evidence, acts, inside)


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


@pytest.fixture(scope="module")
def planted() -> Diagnosis:
    return diagnosed(testing.refusing(layer=1, head=2), testing.twins(16, uneven=True))


def test_the_jump_is_at_the_layer_of_the_head(planted: Diagnosis) -> None:
    (jump,) = named(planted, "patching jump")
    assert (jump.value, jump.low, jump.high, jump.evidence) == (1, 1, 1, "intervention")
    assert jump.p is not None and jump.p < 0.01
    assert "around block 1" in planted.summary and "head 2 of block 1" in planted.summary


def test_the_profile_goes_from_nothing_to_all_of_the_gap_in_both_directions(planted: Diagnosis) -> None:
    for name in ("patching effect", "patching effect, harmless into harmful"):
        before, *after = named(planted, name)
        assert before.value == pytest.approx(0, abs=0.05)
        assert [one.value for one in after] == pytest.approx([1, 1, 1], abs=0.05)
        assert all(one.null_high is not None and one.null_high < 0.2 for one in after)


def test_the_head_ranks_first_and_estimates_agree_with_patches(planted: Diagnosis) -> None:
    best = max(named(planted, "component effect"), key=lambda one: one.value or 0)
    assert best.site is not None and (best.site.kind, best.site.layer, best.site.head) == ("head", 1, 2)
    assert best.value == pytest.approx(1, abs=0.1) and best.p is not None and best.p < 0.05
    (agreement,) = named(planted, "attribution against patching")
    assert agreement.value is not None and agreement.value > 0.95


def test_the_maps_show_the_head_and_the_trigger_before_it(planted: Diagnosis) -> None:
    positions, heads = planted.figures
    by_head = np.array(heads.values)
    assert np.unravel_index(by_head.argmax(), by_head.shape) == (1, 2)
    assert positions.columns == ("earlier", "-3", "-2", "-1")
    by_token = np.array(positions.values, dtype=float)
    assert by_token[0, 0] > 0.2 and by_token[0, -1] < 0.1  # before the head, it is at the trigger
    assert by_token[2, 0] < 0.1 and by_token[2, -1] > 0.2  # after it, at the last token
    assert "pairs whose twins have equally many tokens" in positions.caption


def test_a_prompts_own_activation_changes_nothing(planted: Diagnosis) -> None:
    (own,) = named(planted, "control: own activation")
    assert own.value is not None and own.value < 1e-4


def test_without_a_difference_nothing_is_patched() -> None:
    found = diagnosed(testing.refusing(strength=0), testing.twins(16, refuses=False))
    assert "there is no difference to locate" in found.summary
    assert found.findings[0].value == 0


def test_a_model_that_hardly_refuses_is_not_said_to_decide_anything() -> None:
    often, never = testing.twins(200), testing.twins(200, refuses=False)
    seldom = Evidence(often.samples, (*often.records[:36], *never.records[36:]))
    found = diagnosed(testing.refusing(), seldom)
    assert found.summary.startswith("This model refused 9% of the harmful prompts: there is no refusal to locate.")


def test_the_order_of_samples_changes_nothing() -> None:
    inside, evidence = testing.refusing(), testing.twins(8)
    turned = Evidence(evidence.samples[::-1], evidence.records[::-1])
    one, other = (diagnosed(inside, given).findings[0] for given in (evidence, turned))
    assert (one.value, one.p) == (other.value, other.p)


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(DiagnosticError, match="activation-patching: 3 clusters hold samples of both classes"):
        diagnosed(testing.refusing(), testing.twins(3))
