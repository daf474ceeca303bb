"""Experts and attention weights: found by structure, and what is done to them does what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from deepsight_torch.sites import Sites
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, Llama4TextConfig

from deepsight_core.errors import DiagnosticError

Found = Callable[[str], Sites]
IDS = torch.tensor([[9, 80, 33, 41, 7, 120, 5], [9, 81, 34, 42, 8, 121, 6]])


class Listed(nn.Module):
    """A mixture as other libraries write it: a list of experts, each called with its own tokens."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(count))

    def forward(self, hidden: Tensor) -> Tensor:
        weights, chosen = self.gate(hidden).softmax(-1).topk(2)
        total = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            *place, nth = torch.where(chosen == number)
            total[tuple(place)] += expert(hidden[tuple(place)]) * weights[(*place, nth)][:, None]
        return total


def stacked() -> Any:
    torch.manual_seed(3)
    config = Llama4TextConfig(
        vocab_size=270,
        hidden_size=32,
        intermediate_size=16,
        intermediate_size_mlp=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def listed(make: Any) -> Any:
    model = make("llama")
    torch.manual_seed(3)
    for block in model.model.layers:
        block.mlp = Listed(32, 4)
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> Tensor:
    given: Tensor = model(IDS).logits
    return given


def test_fused_experts_are_found_in_the_layers_that_have_some(sites_of: Found, family: str, families: Any) -> None:
    sites, layers = sites_of(family), families["mixtures"].get(family, ())
    assert sites.layers("router") == layers
    for layer in range(3):
        if layer in layers:
            experts = sites.experts(layer)
            assert (experts.form, experts.count, sites.tap("router", layer).width) == ("indexed", 4, 4)
            assert {"gate_up_proj", "down_proj"} <= set(experts.parameters)
            assert sites.blocks[layer].get_submodule(experts.name) is experts.module
        else:
            with pytest.raises(DiagnosticError, match=f"block {layer} of this model has no experts"):
                sites.experts(layer)


@pytest.mark.parametrize("family", ["mixtral", "qwen3-moe", "glm4-moe", "gpt-oss", "qwen3-next"])
def test_the_router_gives_a_logit_for_each_expert(sites_of: Found, family: str) -> None:
    sites = sites_of(family)
    tap = sites.tap("router", 2)
    taken: list[Tensor] = []
    given: list[Tensor] = []
    handles = [tap.module.register_forward_pre_hook(lambda m, args: taken.append(args[0])), tap.register(given.append)]
    logits(sites.model)
    for handle in handles:
        handle.remove()
    expected = linear(taken[0].reshape(-1, 32), tap.module.weight, getattr(tap.module, "bias", None))
    torch.testing.assert_close(given[0].reshape(-1, 4), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["mixtral", "qwen3-moe", "glm4-moe", "gpt-oss", "jamba", "qwen3-next"])
def test_an_indexed_expert_without_weight_contributes_nothing(sites_of: Found, make: Any, family: str) -> None:
    sites = sites_of(family)
    layer = sites.layers("router")[0]
    assert layer is not None
    untouched = logits(sites.model)
    handles = sites.experts(layer).register(lambda weights, experts: weights * (experts != 2))
    found = logits(sites.model)
    for handle in handles:
        handle.remove()
    other = make(family)
    module = Sites(other, range(20, 40)).experts(layer).module
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("down_proj"):
                weight[2] = 0
    torch.testing.assert_close(found, logits(other), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, untouched)
    assert torch.equal(logits(sites.model), untouched)


def test_stacked_and_listed_experts_are_weighed_too(make: Any) -> None:
    for build, zero, form in (
        (stacked, lambda model: model.model.layers[1].feed_forward.experts.down_proj[2], "stacked"),
        (lambda: listed(make), lambda model: model.model.layers[1].mlp.experts[2].weight, "listed"),
    ):
        model = build()
        sites = Sites(model, range(20, 40))
        experts = sites.experts(1)
        assert (experts.form, experts.count, sites.layers("router")) == (form, 4, tuple(range(len(sites.blocks))))
        handles = experts.register(lambda weights, experts: weights * (experts != 2))
        found = logits(model)
        for handle in handles:
            handle.remove()
        assert not torch.allclose(found, logits(model))
        with torch.no_grad():
            zero(model).zero_()
        torch.testing.assert_close(found, logits(model), rtol=1e-4, atol=1e-5)


def test_experts_are_asked_about_by_token(sites_of: Found) -> None:
    sites = sites_of("mixtral")
    asked: list[tuple[Tensor, Tensor]] = []

    def weigh(weights: Tensor, experts: Tensor) -> Tensor:
        asked.append((weights, experts))
        return weights

    handles = sites.experts(1).register(weigh)
    logits(sites.model)
    for handle in handles:
        handle.remove()
    ((weights, experts),) = asked
    assert weights.shape == experts.shape == (IDS.numel(), 2)
    torch.testing.assert_close(weights.sum(1), torch.ones(IDS.numel()))


def test_attention_weights_sum_to_one_and_look_at_nothing_ahead(
    sites_of: Found, family: str, families: Any, count_hooks: Any
) -> None:
    sites = sites_of(family)
    layers = tuple(layer for layer in range(3) if layer not in families["recurrent"].get(family, ()))
    assert sites.layers("attn_prob") == layers
    before = sites.model.config._attn_implementation
    seen: list[Tensor] = []
    handles = [sites.tap("attn_prob", layer).register(seen.append) for layer in layers]
    assert sites.model.config._attn_implementation == "eager"
    logits(sites.model)
    for handle in handles:
        handle.remove()
    assert sites.model.config._attn_implementation == before
    assert count_hooks(sites.model) == 0
    rows, tokens = IDS.shape
    for given in seen:
        assert given.shape == (rows, tokens, 4 * tokens)
        weights = given.reshape(rows, tokens, 4, tokens)
        if family != "gpt-oss":  # its sinks take a share
            torch.testing.assert_close(weights.sum(-1), torch.ones(rows, tokens, 4))
        assert not weights.transpose(1, 2).triu(1).any()


def test_attention_is_as_it_was_after_an_error(sites_of: Found) -> None:
    sites = sites_of("llama")
    before = sites.model.config._attn_implementation

    def fail(weights: Tensor) -> None:
        raise RuntimeError("as it happens")

    handle = sites.tap("attn_prob", 0).register(fail)
    try:
        with pytest.raises(RuntimeError, match="as it happens"):
            logits(sites.model)
    finally:
        handle.remove()
    assert sites.model.config._attn_implementation == before == "sdpa"


def test_attention_weights_times_values_are_what_the_heads_hold(sites_of: Found) -> None:
    sites = sites_of("gpt2")
    weights: list[Tensor] = []
    values: list[Tensor] = []
    heads: list[Tensor] = []
    attention = sites.blocks[1].attn
    handles = [
        sites.tap("attn_prob", 1).register(weights.append),
        sites.tap("head", 1).register(heads.append),
        attention.c_attn.register_forward_hook(lambda m, args, output: values.append(output[..., 64:])),
    ]
    logits(sites.model)
    for handle in handles:
        handle.remove()
    rows, tokens = IDS.shape
    each = weights[0].reshape(rows, tokens, 4, tokens).transpose(1, 2)
    mixed = each @ values[0].reshape(rows, tokens, 4, 8).transpose(1, 2)
    torch.testing.assert_close(mixed.transpose(1, 2).flatten(2), heads[0], rtol=1e-5, atol=1e-6)
