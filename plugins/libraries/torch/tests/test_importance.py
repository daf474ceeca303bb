"""Importance of weights: one sweep gives what a loop over layers gives, and leaves nothing behind."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.importance import examples
from deepsight_torch.matrices import holders
from deepsight_torch.rendering import Renderer
from deepsight_torch.sites import Sites
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    Qwen2MoeConfig,
)

from deepsight_core import Prompt, Want, user
from deepsight_core.errors import DiagnosticError

PARTS = ("attention", "mlp")
SMALL = LlamaConfig(
    vocab_size=270, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512,
)  # fmt: skip
OTHERS = (".gate.weight", ".router.weight", "shared_expert_gate.weight", "_bias", "conv1d.weight", ".A_log")
"""Parameters of two axes or more that are no matrices: routers, gates of shared experts, biases of experts, and what
recurrent mixers have besides."""


def cohort(start: int, count: int = 3) -> list[Prompt]:
    return [
        Prompt(id=f"p{n}", messages=(user(f"What about {n}?"),), answer=f"Number {n * n}, I think.")
        for n in range(start, start + count)
    ]


COHORTS = {"first": cohort(0), "second": cohort(10)}


def oracle(
    inside: TransformersInside, prompts: list[Prompt], layer: int | None, dtype: Any = torch.float32, **packing: bool
) -> dict[str, torch.Tensor]:
    """|W| * sum of |gradient| by parameter's name, written down plainly; of one layer, or of all at once."""
    packing = {"raw": False, "drop_first": False, **packing}
    model = inside.sites.model
    copy = type(model)(model.config).to(dtype).eval()
    copy.load_state_dict(model.state_dict())
    names = {matrix.name for holder in holders(inside.sites, PARTS) for matrix in holder.matrices}
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    for name, parameter in copy.named_parameters():
        parameter.requires_grad_(name in names and (layer is None or f".{layer}." in name))
    for example in examples(inside.renderer, prompts, context=None, **packing):
        copy.zero_grad()
        ids = torch.tensor([example.ids])
        labels = ids.clone()
        labels[0, : example.start] = -100
        copy(input_ids=ids, labels=labels).loss.backward()
        for name, parameter in copy.named_parameters():
            if name in names and parameter.grad is not None:
                sums[name] = sums[name] + parameter.grad.abs()
    return {
        name: parameter.detach().abs() * sums[name]
        for name, parameter in copy.named_parameters()
        if torch.is_tensor(sums.get(name))
    }


def test_one_sweep_equals_a_sweep_for_each_layer_and_every_expert_its_slice(opened, family, families):
    inside = opened(family)
    found = inside.importance(COHORTS, depth=1.0, parts=PARTS)
    loop: dict[str, torch.Tensor] = {}
    for layer in range(3):
        loop.update(oracle(inside, COHORTS["first"], layer))
    assert {matrix.name for matrix in found.matrices} == set(loop)
    for matrix, places, scores in zip(found.matrices, found.indices, found.scores, strict=True):
        expected = loop[matrix.name] if matrix.expert is None else loop[matrix.name][matrix.expert]
        assert tuple(expected.shape) == matrix.shape
        known = np.zeros(matrix.size, dtype=np.float32)  # a matrix without gradient keeps nothing
        known[places] = scores[0, 0]
        error = np.abs(known - expected.flatten().numpy())
        rounding = (
            1e-5 * (known + known.max()) if family in families["recurrent"] else 0.0
        )  # recurrences add up in another order
        assert (error <= rounding).all(), matrix.name


def test_scores_equal_a_plain_computation_in_float64(opened):
    inside = opened("llama")
    found = inside.importance(COHORTS, depth=1.0)
    exact = oracle(inside, COHORTS["second"], None, torch.float64)
    for matrix, scores in zip(found.matrices, found.scores, strict=True):
        np.testing.assert_allclose(scores[1, 0], exact[matrix.name].flatten().numpy(), rtol=2e-3, atol=1e-8)


def test_half_precision_gradients_are_added_up_in_float32(make, tokenizer):
    inside = TransformersInside(make("llama", torch.bfloat16), tokenizer, digest="coarse")
    many = {"first": cohort(0, 12)}
    found = inside.importance(many, depth=1.0, layers=[0])
    singles = [inside.importance({"one": [prompt]}, depth=1.0, layers=[0]) for prompt in many["first"]]
    for number, scores in enumerate(found.scores):
        exact = sum(one.scores[number][0, 0].astype(np.float64) for one in singles)
        np.testing.assert_allclose(scores[0, 0], exact, rtol=1e-5)


def test_groups_of_layers_give_the_same_result(make, tokenizer):
    whole = TransformersInside(make("llama"), tokenizer, digest="llama")
    expected = whole.importance(COHORTS, depth=0.01)
    layer = 3 * 32 * 48
    narrow = TransformersInside(make("llama"), tokenizer, digest="llama", memory_limit=4 * 2 * layer)
    found = narrow.importance(COHORTS, depth=0.01)
    assert (expected.sweeps, found.sweeps) == (1, 3)
    assert found.matrices == expected.matrices
    for one, other in zip([*found.indices, *found.scores], [*expected.indices, *expected.scores], strict=True):
        assert np.array_equal(one, other)


def test_one_layer_that_does_not_fit_is_refused_with_the_numbers(make, tokenizer):
    inside = TransformersInside(make("llama"), tokenizer, digest="llama", memory_limit=1000)
    with pytest.raises(DiagnosticError, match=r"layer 0 take .* \(4 accumulators.*4608 weights.*memory_limit"):
        inside.importance(COHORTS, depth=0.01, blocks=2)


def test_the_most_important_of_each_cohort_are_kept(opened):
    inside = opened("qwen2")
    whole, part = (inside.importance(COHORTS, depth=depth) for depth in (1.0, 0.02))
    for matrix, places, scores, every in zip(part.matrices, part.indices, part.scores, whole.scores, strict=True):
        best = {int(place) for row in every[:, 0] for place in np.argsort(-row)[: int(0.02 * matrix.size)]}
        assert set(places.tolist()) == best and list(places) == sorted(places)
        assert np.array_equal(scores, every[:, :, places])


def test_blocks_are_consecutive_parts_whose_sum_is_the_cohort(opened):
    inside = opened("llama")
    whole = inside.importance(COHORTS, depth=1.0, layers=[1])
    split = inside.importance(COHORTS, depth=1.0, layers=[1], blocks=2)
    first = inside.importance({"first": COHORTS["first"][:2]}, depth=1.0, layers=[1])
    for all_of_it, by_block, alone in zip(whole.scores, split.scores, first.scores, strict=True):
        np.testing.assert_allclose(by_block.sum(axis=1), all_of_it[:, 0], rtol=1e-5)
        assert np.array_equal(by_block[0, 0], alone[0, 0])


def test_the_model_is_left_as_it_was_also_after_an_error(make, tokenizer, count_hooks):
    model = make("llama").train()
    inside = TransformersInside(model, tokenizer, digest="llama")
    first = next(model.parameters())
    first.requires_grad_(False)
    last = list(model.parameters())[-1]
    last.grad = torch.ones_like(last)
    hooks = count_hooks(model)
    inside.importance(COHORTS, depth=0.01)
    with torch.no_grad():
        first.fill_(float("nan"))
    with pytest.raises(DiagnosticError, match="loss on sample 'p0' is nan"):
        inside.importance(COHORTS, depth=0.01)
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * (len(list(model.parameters())) - 1)
    assert all(p.grad is None for p in list(model.parameters())[:-1]) and torch.equal(last.grad, torch.ones_like(last))
    assert count_hooks(model) == hooks and all(module.training for module in model.modules())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_importance_is_found_within_inference_mode(opened):
    with torch.inference_mode():
        assert opened("llama").importance(COHORTS, depth=0.01).scores[0].any()


def test_matrices_are_told_apart_by_where_they_lie(opened, family):
    inside = opened(family)
    chosen = [matrix for holder in holders(inside.sites, PARTS) for matrix in holder.matrices]
    assert {matrix.layer for matrix in chosen} == {0, 1, 2}
    mixers = ("attn", "attention", "mamba")  # a recurrent mixer stands where other blocks have attention
    assert all(any(word in m.name for word in mixers) == (m.part == "attention") for m in chosen)
    weights = {
        name
        for name, parameter in inside.sites.model.named_parameters()
        if any(parameter is own for own in inside.sites.blocks.parameters()) and parameter.ndim > 1
    }
    others = {name for name in weights if name.endswith(OTHERS)}
    assert {matrix.name for matrix in chosen} == weights - others


def test_experts_of_one_tensor_are_matrices_of_their_own(opened):
    inside = opened("qwen3-moe")
    chosen = [m for holder in holders(inside.sites, ("mlp",), [1]) for m in holder.matrices]
    assert [(m.name.rpartition(".")[2], m.expert, m.shape) for m in chosen] == [
        *(("gate_up_proj", expert, (32, 32)) for expert in range(4)),
        *(("down_proj", expert, (32, 16)) for expert in range(4)),
    ]
    assert chosen[4].units is not None and chosen[4].units.axis == 1 and chosen[0].units is None


def test_the_gate_of_a_shared_expert_is_no_matrix(tokenizer):
    torch.manual_seed(0)
    config = Qwen2MoeConfig(
        vocab_size=270, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
        shared_expert_intermediate_size=24,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    chosen = holders(Sites(model, list(range(12))), ("mlp",), [0])
    names = [holder.matrices[0].name.split("mlp.")[1] for holder in chosen]
    assert sorted(names) == [
        "experts.down_proj",
        "experts.gate_up_proj",
        "shared_expert.down_proj.weight",
        "shared_expert.gate_proj.weight",
        "shared_expert.up_proj.weight",
    ]


def test_an_expert_that_no_token_reaches_keeps_nothing(make, tokenizer):
    model = make("qwen3-moe")
    with torch.no_grad():
        for block in model.model.layers:
            block.mlp.gate.weight.zero_()  # so that every token goes to the same two
    inside = TransformersInside(model, tokenizer, digest="moe")
    found = inside.importance(COHORTS, depth=0.1)
    kept = {matrix.expert: places.size for matrix, places in zip(found.matrices, found.indices, strict=True)}
    assert sorted(bool(size) for size in kept.values()) == [False, False, True, True]


def test_entries_know_their_neuron_and_head(opened):
    llama = {m.name.split("layers.0.")[1]: m for h in holders(opened("llama").sites, PARTS, [0]) for m in h.matrices}
    gate, down = llama["mlp.gate_proj.weight"], llama["mlp.down_proj.weight"]
    assert (gate.shape, down.shape) == ((48, 32), (32, 48))
    assert gate.unit_numbers(np.array([7 * 32 + 3])) == 7 and down.unit_numbers(np.array([3 * 48 + 7])) == 7
    assert gate.units is not None and down.units is not None and gate.units.owner == down.units.owner
    out = llama["self_attn.o_proj.weight"]
    assert out.unit_numbers(np.array([5 * 32 + 17])) == 2 and llama["self_attn.k_proj.weight"].units is None
    transposed = {m.name.split("h.0.")[1]: m for h in holders(opened("gpt2").sites, PARTS, [0]) for m in h.matrices}
    up = transposed["mlp.c_fc.weight"]
    assert up.shape == (32, 128) and up.unit_numbers(np.array([3 * 128 + 7])) == 7


def test_masked_weights_are_zero_for_a_while(opened):
    inside = opened("mixtral")
    model = inside.sites.model
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    experts = "model.layers.1.mlp.experts.down_proj"
    query = "model.layers.0.self_attn.q_proj.weight"
    with (
        pytest.raises(RuntimeError, match="broken off"),
        inside.masked({(experts, 2): np.array([0, 5]), (query, None): np.array([3])}),
    ):
        changed = {
            (name, *place)
            for name, parameter in model.named_parameters()
            for place in (parameter != before[name]).nonzero().tolist()
        }
        assert changed == {(experts, 2, 0, 0), (experts, 2, 0, 5), (query, 0, 3)}
        assert model.get_parameter(experts)[2, 0, 5] == 0
        raise RuntimeError("broken off")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    with pytest.raises(DiagnosticError, match="no weight matrix"), inside.masked({("nowhere", None): np.array([0])}):
        pass


def test_what_was_seen_before_does_not_answer_for_the_masked_model(make, tokenizer, tmp_path):
    inside = TransformersInside(make("llama"), tokenizer, digest="llama", store=tmp_path)
    prompts = cohort(0)
    before = inside.run([Want()], prompts)[Want()]
    every = {m.place: np.arange(m.size) for h in holders(inside.sites, ("mlp",)) for m in h.matrices}
    with inside.masked(every):
        assert np.abs(inside.run([Want()], prompts)[Want()] - before).max() > 0.01
    assert np.array_equal(inside.run([Want()], prompts)[Want()], before)


def test_an_adapted_weight_counts_and_is_masked_as_it_acts(make, tokenizer):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(make("llama"), config).eval()
    inside = TransformersInside(adapted, tokenizer, digest="adapted")
    found = inside.importance(COHORTS, depth=1.0, layers=[1])
    merged = TransformersInside(adapted.merge_and_unload(), tokenizer, digest="merged")
    expected = merged.importance(COHORTS, depth=1.0, layers=[1])
    assert [m.shape for m in found.matrices] == [m.shape for m in expected.matrices]
    for one, other in zip(found.scores, expected.scores, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-7)


def test_masking_an_adapted_weight_masks_what_the_adapter_adds(make, tokenizer):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(make("llama"), config).eval()
    inside = TransformersInside(adapted, tokenizer, digest="adapted")
    matrix = next(m for h in holders(inside.sites, ("mlp",), [1]) for m in h.matrices if "down_proj" in m.name)
    layer = adapted.get_base_model().model.layers[1].mlp.down_proj
    with inside.masked({matrix.place: np.arange(matrix.size)}), torch.no_grad():
        assert layer(torch.randn(3, 48)).abs().max() < 1e-5


def test_quantised_weights_are_refused(make, tokenizer):
    inside = TransformersInside(make("llama"), tokenizer, digest="llama")
    weight = inside.sites.blocks[0].mlp.up_proj.weight
    weight.requires_grad_(False)
    weight.data = weight.data.to(torch.float8_e4m3fn)
    with pytest.raises(DiagnosticError, match=r"up_proj.weight is quantised \(torch.float8_e4m3fn\)"):
        inside.importance(COHORTS, depth=0.01)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(id="x", messages=(user("a"),)), "sample 'x' has no answer"),
        (Prompt(id="x", messages=(user("a"),), answer=""), "sample 'x' has no token left"),
        (Prompt(id="x", messages=(user("a" * 600),), answer="b"), "sample 'x' has .* tokens, more than .* 512"),
    ],
)
def test_an_example_without_a_loss_is_named(opened, prompt, message):
    with pytest.raises(DiagnosticError, match=message):
        opened("llama").importance({"first": [prompt]}, depth=0.01)


def test_too_few_examples_and_a_layer_out_of_range_are_refused(opened):
    with pytest.raises(DiagnosticError, match="'empty' has 0 examples"):
        opened("llama").importance({"empty": []}, depth=0.01)
    with pytest.raises(DiagnosticError, match="layer 7 is out of range"):
        opened("llama").importance(COHORTS, depth=0.01, layers=[7])


def test_raw_packing_begins_once_and_the_published_one_drops_a_token(opened):
    renderer = opened("llama").renderer
    prompt = Prompt(id="x", messages=(user("Hi"),), answer="You")

    def packed(**options: bool) -> tuple[str, str]:
        (one,) = examples(renderer, [prompt], context=None, **options)
        ids = list(one.ids)
        return renderer.tokenizer.decode(ids[: one.start]), renderer.tokenizer.decode(ids[one.start :])

    assert packed(raw=True, drop_first=False) == ("Hi", "You")
    assert packed(raw=True, drop_first=True) == ("Hi", "ou")
    assert packed(raw=False, drop_first=False)[1] == "You"


def test_a_tokenizer_that_begins_texts_loses_nothing_to_the_published_packing(tokenizer):
    beginning = deepcopy(tokenizer)
    beginning.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    renderer = Renderer(beginning)
    prompt = Prompt(id="x", messages=(user("Hi"),), answer="You")
    plain, published = (examples(renderer, [prompt], raw=True, drop_first=drop, context=None) for drop in (False, True))
    assert plain == published and renderer.tokenizer.decode(list(plain[0].ids)) == "<s>HiYou"


def test_a_planted_coupling_is_recovered(tokenizer):
    """Two cohorts write through one neuron whose column is large: its weights are among the top of both."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(SMALL).eval()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:, 11] *= 50
    found = TransformersInside(model, tokenizer, digest="planted").importance(COHORTS, depth=32 / (32 * 48))
    (number,) = (n for n, m in enumerate(found.matrices) if m.layer == 1 and m.name.endswith("down_proj.weight"))
    matrix, places, scores = found.matrices[number], found.indices[number], found.scores[number][:, 0]
    tops = [set(places[np.argsort(-row)[:32]].tolist()) for row in scores]
    coupled = np.array(sorted(tops[0] & tops[1]))
    assert (matrix.unit_numbers(coupled) == 11).mean() > 0.7
    assert len(coupled) > 20 * 32 * 32 / matrix.size


def test_the_vision_tower_and_the_projector_hold_no_matrices():
    torch.manual_seed(0)
    eyes = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
    )
    config = LlavaConfig(text_config=SMALL, vision_config=eyes, image_token_index=4)
    model = AutoModelForImageTextToText.from_config(config).eval()
    names = [m.name for holder in holders(Sites(model, list(range(5, 17))), PARTS) for m in holder.matrices]
    assert len(names) == 2 * 7 and all("language_model.layers." in name for name in names)
