"""Attention weights and router logits, gathered like any other site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside

from deepsight_core import Prompt, Want
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import ClassMoments, Last, Steps

Opened = Callable[..., TransformersInside]


def eager(inside: TransformersInside, ids: Any) -> list[np.ndarray]:
    """transformers' own account of one text: (heads, tokens, tokens) by layer."""
    model = inside.sites.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            return [layer[0].numpy() for layer in model(torch.tensor([list(ids)]), output_attentions=True).attentions]
    finally:
        model.set_attn_implementation(before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral", "bloom"])
def test_attention_weights_are_padded_to_the_longest_text(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside = opened(family)
    last, steps = (
        Want(site="attn_prob", positions=Last(k=2)),
        Want(site="attn_prob", positions=Steps(), text="exchange"),
    )
    acts = inside.run([last, steps, Want()], prompts)
    longest = int(acts.lengths["prompt"].max())
    assert acts[last].shape == (10, 3, 2, 4 * longest)
    assert acts.error < 1e-4
    for row, prompt in enumerate(prompts):
        ids = inside.renderer.prompt(prompt.messages).ids
        weights = acts[last][row].reshape(3, 2, 4, longest)
        assert not weights[..., len(ids) :].any()
        for layer, expected in enumerate(eager(inside, ids)):
            np.testing.assert_allclose(weights[layer, ..., : len(ids)].swapaxes(0, 1), expected[:, -2:], atol=1e-5)
    np.testing.assert_allclose(acts.each(steps)[0].reshape(-1, int(acts.lengths["exchange"].max())).sum(-1), 1, 1e-4)


def test_other_longest_texts_are_not_mistaken_for_stored_ones(
    make: Any, tokenizer: Any, tmp_path: Any, prompts: list[Prompt]
) -> None:
    inside, want = TransformersInside(make("llama"), tokenizer, digest="x", store=tmp_path), Want(site="attn_prob")
    inside.run([want], prompts)
    few = inside.run([want], prompts[:3])
    assert few.captured == {"computed": 3}
    assert inside.run([want], prompts[:3]).captured == {"store": 3}


def test_attention_does_not_ride(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", seed=1)
    ids = inside.renderer.prompt(prompts[0].messages).ids
    with inside.ride([Want(site="attn_prob")], prompts), inside.prefill([ids]), torch.no_grad():
        inside.sites.model(torch.tensor([ids]))
    assert inside.run([Want(site="attn_prob")], prompts).captured == {"computed": 10}


def test_there_are_no_moments_of_attention(opened: Opened, prompts: list[Prompt]) -> None:
    with pytest.raises(DiagnosticError, match="there are no moments over texts"):
        opened("llama").run([Want(site="attn_prob", collect=ClassMoments(by="x"))], prompts)


@pytest.mark.parametrize("family", ["mixtral", "qwen3-moe"])
def test_router_logits_are_the_models_own(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside, want = opened(family), Want(site="router", positions=Last(k=2))
    acts = inside.run([want], prompts)
    ids = torch.tensor([inside.renderer.prompt(prompts[3].messages).ids])
    with torch.no_grad():
        expected = inside.sites.model(ids, output_router_logits=True).router_logits
    found = acts[want][3]
    for layer, logits in enumerate(expected):
        np.testing.assert_allclose(found[layer], logits.numpy()[-2:], rtol=1e-3, atol=1e-5)
