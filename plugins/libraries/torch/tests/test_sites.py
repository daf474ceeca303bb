"""Sites: found by what flows through them, on every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.sites import Sites

from deepsight_core import Want
from deepsight_core.errors import DiagnosticError

Opened = Callable[..., TransformersInside]
KINDS = ("embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron", "final")


def test_every_site_is_found_but_those_that_a_layer_lacks(opened: Opened, family: str, families: Any) -> None:
    lacking = {
        "resid_mid": (0, 1, 2) if family in families["parallel"] else (),
        "neuron": families["mixtures"].get(family, ()),
        "head": families["recurrent"].get(family, ()),
    }
    sites = opened(family).sites
    for kind in KINDS:
        layers = (None,) if kind in ("embed", "final") else (0, 1, 2)
        assert sites.layers(kind) == tuple(layer for layer in layers if layer not in lacking.get(kind, ())), kind
        assert {layer for absent, layer in sites.absent if absent == kind} == set(lacking.get(kind, ())), kind


def test_the_residual_stream_adds_up(opened: Opened, family: str, prompts: Any) -> None:
    inside = opened(family)
    before, attention, mlp, after = (Want(site=s) for s in ("resid_in", "attn_out", "mlp_out", "resid_out"))
    acts = inside.run([before, attention, mlp, after], prompts)
    np.testing.assert_allclose(acts[before] + acts[attention] + acts[mlp], acts[after], rtol=1e-4, atol=1e-5)


def test_the_stream_between_attention_and_mlp_adds_up(opened: Opened, family: str, families: Any, prompts: Any) -> None:
    if family in families["parallel"]:
        pytest.skip("attention and MLP read the same stream")
    before, attention, middle = (Want(site=s) for s in ("resid_in", "attn_out", "resid_mid"))
    acts = opened(family).run([before, attention, middle], prompts)
    np.testing.assert_allclose(acts[before] + acts[attention], acts[middle], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "name"), [("llama", "self_attn.o_proj"), ("gpt2", "attn.c_proj"), ("bloom", "self_attention.dense")]
)
def test_heads_side_by_side_through_the_projection_give_what_attention_adds(
    opened: Opened, family: str, name: str, prompts: Any
) -> None:
    inside = opened(family)
    heads, added = Want(site="head"), Want(site="attn_out")
    acts = inside.run([heads, added], prompts)
    for layer in acts.layers[heads]:
        projection = inside.sites.blocks[layer].get_submodule(name)
        with torch.no_grad():
            projected = projection(torch.tensor(acts[heads][:, layer])).numpy()
        np.testing.assert_allclose(projected, acts[added][:, layer], rtol=1e-4, atol=1e-5)


def test_the_head_turns_the_final_site_into_the_logits(opened: Opened, prompts: Any) -> None:
    inside = opened("llama")
    final = Want(site="final")
    array = torch.tensor(inside.run([final], prompts[:1])[final][0, 0, 0])
    ids = torch.tensor([inside.renderer.prompt(prompts[0].messages).ids])
    with torch.no_grad():
        expected = inside.sites.model(ids).logits[0, -1]
        torch.testing.assert_close(inside.sites.model.lm_head(array), expected, rtol=1e-4, atol=1e-5)


def test_scales_of_embedding_and_residual_belong_to_their_sites(opened: Opened) -> None:
    taps = opened("granite").sites.taps
    assert (taps["embed", None].scale, taps["attn_out", 0].scale, taps["mlp_out", 2].scale) == (12.0, 0.22, 0.22)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "gpt-neox"])
def test_sites_are_found_in_bfloat16_too(make: Any, family: str) -> None:
    fine, coarse = Sites(make(family), range(20, 40)), Sites(make(family, torch.bfloat16), range(20, 40))
    assert coarse.taps.keys() == fine.taps.keys()
    assert [tap.scale for tap in coarse.taps.values()] == [tap.scale for tap in fine.taps.values()]


def test_an_adapter_is_looked_into_and_not_past(make: Any) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        make("llama"), peft.LoraConfig(r=2, target_modules=["o_proj", "down_proj"], init_lora_weights=False)
    )
    sites = Sites(model, range(20, 40))
    assert sites.layers("neuron") == sites.layers("head") == (0, 1, 2)
    assert isinstance(sites.tap("head", 1).module, peft.tuners.lora.Linear)


def test_the_geometry_is_measured(opened: Opened) -> None:
    shape = opened("qwen3").geometry
    assert (shape.layers, shape.width, shape.heads, shape.head_width, shape.neurons) == (3, 32, 4, 8, 48)
    assert (shape.vocabulary, shape.context, shape.family, shape.dtype) == (270, 512, "qwen3", "float32")
    assert opened("mixtral").geometry.neurons == 0


def test_an_absent_site_says_why(opened: Opened, prompts: Any) -> None:
    with pytest.raises(DiagnosticError, match="no site resid_mid: attention and MLP write in parallel"):
        opened("gpt-neox").run([Want(site="resid_mid")], prompts)


def test_a_model_whose_stream_is_broken_is_refused(make: Any) -> None:
    model = make("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(DiagnosticError, match="block 1 gives NaN"):
        Sites(model, range(20, 40))


def test_a_model_that_sees_to_the_right_is_given_a_mask(tokenizer: Any, make: Any, prompts: Any) -> None:
    model = make("gemma3")
    model.config.use_bidirectional_attention = True
    for block in model.model.layers:
        block.self_attn.is_causal = False
    inside = TransformersInside(model, tokenizer, digest="x")
    assert inside.sites.needs_mask
    assert inside.run([Want()], prompts).error < 1e-4
