"""The pass: what it gives is what each text gives alone, however it is batched, padded, shared or cut short."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.capture import capture, shared_prefix

from deepsight_core import Prompt, Want, system, user
from deepsight_core.edits import Add
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, EndOfInstruction, Last, MeanTokens, Span, TopK

Opened = Callable[..., TransformersInside]
MEAN = MeanTokens()


def hidden_states(inside: TransformersInside, ids: Any) -> list[np.ndarray]:
    """transformers' own account of one text: (tokens, width) by layer."""
    with torch.no_grad():
        states = inside.sites.model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    return [state[0].numpy() for state in states]


def close(found: np.ndarray, expected: np.ndarray, error: float = 1e-5) -> bool:
    return bool(np.linalg.norm(found - expected) <= error * np.linalg.norm(expected))


def test_resid_out_is_what_transformers_reports(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside, want = opened(family), Want()
    acts = inside.run([want, Want(site="final")], prompts)
    for row, prompt in enumerate(prompts):
        states = hidden_states(inside, inside.renderer.prompt(prompt.messages).ids)
        for layer in range(2):  # the last one is reported after the final norm
            assert close(acts[want][row, layer, 0], states[layer + 1][-1])
        assert close(acts[Want(site="final")][row, 0, 0], states[-1][-1])


def test_the_final_norm_of_the_last_resid_out_is_the_last_hidden_state(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want(layers=(2,))
    array = inside.run([want], prompts[:1])[want]
    with torch.no_grad():
        normed = inside.sites.model.model.norm(torch.tensor(array[0, 0])).numpy()
    assert close(normed, hidden_states(inside, inside.renderer.prompt(prompts[0].messages).ids)[-1][-1:])


def test_the_guard_finds_no_difference(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    wants = [Want(), Want(positions=All(), reduce=MEAN, text="exchange"), Want(positions=EndOfInstruction())]
    assert opened(family).run(wants, prompts).error < 1e-5


def test_a_text_that_was_read_alone_is_not_read_again(opened: Opened, prompts: list[Prompt]) -> None:
    inside, read = opened("llama"), []
    handle = inside.sites.blocks[0].register_forward_pre_hook(lambda *_: read.append(1))
    try:
        assert inside.run([Want()], prompts[:1]).error == 0.0
        assert len(read) == 1
        assert 0 < inside.run([Want()], prompts[:3]).error < 1e-5
        assert len(read) == 1 + 1 + 2
    finally:
        handle.remove()


def test_batches_and_order_do_not_matter(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    want, budget = Want(positions=Last(k=3)), 100
    wide, narrow = opened(family).run([want], prompts), opened(family, token_budget=budget).run([want], prompts[::-1])
    assert narrow.ids == wide.ids[::-1]
    assert close(narrow[want][::-1], wide[want])


def test_a_shared_beginning_read_once_changes_nothing(
    opened: Opened, family: str, prompts: list[Prompt], families: Any
) -> None:
    inside = opened(family)
    if family in families["recurrent"]:
        pytest.skip("what a recurrent layer remembers cannot be shared")
    only = inside.plan([Want(), Want(site="final")], prompts).passes[0]
    assert shared_prefix(only.rows) > 16  # longer than the windows of mistral and gemma
    assert inside.sites.shares_prefix
    kept: dict[bool, dict[str, list[np.ndarray]]] = {True: {}, False: {}}
    for share, rows in kept.items():
        capture(inside.sites, only.streams, only.rows, lambda row, a, to=rows: to.update({row.id: a}), 500, share=share)
    for id in kept[True]:
        assert all(close(*pair) for pair in zip(kept[True][id], kept[False][id], strict=True))


def test_a_beginning_that_somebody_looks_at_is_not_skipped(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    assert shared_prefix(inside.plan([Want(positions=All(), reduce=MEAN)], prompts).passes[0].rows) == 0
    kind = [Prompt(id=p.id, messages=(system("Be kind."), *p.messages)) for p in prompts]
    span = inside.plan([Want(positions=Span(name="user"), reduce=MEAN)], kind).passes[0].rows
    assert shared_prefix(span) == span[0].begins > 16


def test_a_shared_beginning_ends_before_any_answer(opened: Opened) -> None:
    same = [Prompt(id=f"{n}", messages=(user("Why?"),), answer=f"Because {n}") for n in range(9)]
    rows = opened("llama").plan([Want(text="exchange")], same).passes[0].rows
    assert shared_prefix(rows) == rows[0].answer < len(rows[0].ids) - 1


def test_leaving_early_gives_what_the_whole_pass_gives(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside, early, whole = opened(family), Want(layers=(1,)), Want()
    read = []
    handle = inside.sites.blocks[2].register_forward_pre_hook(lambda *_: read.append(1))
    try:
        found = inside.run([early], prompts)[early]
        assert not read
        np.testing.assert_array_equal(found[:, 0], inside.run([whole], prompts)[whole][:, 1])
    finally:
        handle.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral"])
def test_rereading_an_answer_gives_the_activations_of_decoding_it(
    opened: Opened, family: str, prompts: list[Prompt]
) -> None:
    inside = opened(family)
    want = Want(positions=Span(name="response"), reduce=MEAN, text="exchange", layers=(0, 1))
    found = inside.run([want], prompts[:1])[want][0]
    prompt = inside.renderer.prompt(prompts[0].messages).ids
    start, stop = (text := inside.renderer.exchange(prompts[0].messages, prompts[0].answer)).spans["response"]
    assert start == len(prompt)
    steps = []
    with torch.no_grad():
        cache = inside.sites.model(torch.tensor([prompt]), use_cache=True).past_key_values
        for token in text.ids[start:stop]:
            out = inside.sites.model(
                torch.tensor([[token]]), past_key_values=cache, use_cache=True, output_hidden_states=True
            )
            steps.append([out.hidden_states[layer + 1][0, 0].numpy() for layer in range(2)])
    assert close(found[:, 0], np.mean(steps, axis=0))


@pytest.mark.parametrize("name", ["user", "response"])
def test_a_mean_over_a_span_is_the_mean_over_its_tokens(opened: Opened, prompts: list[Prompt], name: Any) -> None:
    inside, want = opened("llama"), Want(positions=Span(name=name), reduce=MEAN, text="exchange", layers=(1,))
    acts = inside.run([want], prompts)
    for row, prompt in enumerate(prompts):
        text = inside.renderer.exchange(prompt.messages, prompt.answer)
        start, stop = text.spans[name]
        assert close(acts[want][row, 0, 0], hidden_states(inside, text.ids)[2][start:stop].mean(axis=0))
        assert acts.lengths["exchange"][row] == len(text)


def test_the_end_of_the_instruction_is_its_last_token(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want(positions=EndOfInstruction(), layers=(0,))
    text = inside.renderer.prompt(prompts[3].messages)
    assert inside.renderer.tokenizer.decode([text.ids[text.end_of_instruction]]) == "e"
    assert close(
        inside.run([want], prompts)[want][3, 0, 0], hidden_states(inside, text.ids)[1][text.end_of_instruction]
    )


def test_last_tokens_come_oldest_first(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want(positions=Last(k=3), layers=(0,))
    states = hidden_states(inside, inside.renderer.prompt(prompts[0].messages).ids)
    assert close(inside.run([want], prompts)[want][0, 0], states[1][-3:])


def test_embeddings_of_a_template_token_are_the_same_for_every_prompt(
    opened: Opened, family: str, prompts: list[Prompt]
) -> None:
    want = Want(site="embed")
    array = opened(family).run([want], prompts)[want]
    assert array.shape == (10, 1, 1, 32)
    assert np.ptp(array, axis=0).max() == 0


def test_layers_come_in_the_order_asked_for(opened: Opened, prompts: list[Prompt]) -> None:
    backward, all_layers = Want(layers=(2, 0)), Want()
    acts = opened("llama").run([backward, all_layers], prompts)
    assert acts.layers[backward] == (2, 0)
    np.testing.assert_array_equal(acts[backward], acts[all_layers][:, [2, 0]])


def test_equal_texts_are_read_once_and_given_to_each(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want()
    twice = [*prompts, *(Prompt(id=f"again-{p.id}", messages=p.messages) for p in prompts)]
    assert len(inside.plan([want], twice).passes[0].rows) == 10
    array = inside.run([want], twice)[want]
    np.testing.assert_array_equal(array[:10], array[10:])


def test_bfloat16_stays_within_its_rounding(tokenizer: Any, make: Any, prompts: list[Prompt]) -> None:
    inside, want = TransformersInside(make("llama", torch.bfloat16), tokenizer, digest="x"), Want()
    acts = inside.run([want], prompts)
    assert acts[want].dtype == np.float32
    assert acts.error < 3e-2


def test_offloaded_weights_give_the_same(opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt]) -> None:
    accelerate = pytest.importorskip("accelerate")
    model, early = make("llama"), Want(layers=(1,))
    accelerate.cpu_offload(model, execution_device="cpu")
    inside, expected = TransformersInside(model, tokenizer, digest="x"), opened("llama").run([Want()], prompts)[Want()]
    np.testing.assert_array_equal(inside.run([early], prompts)[early], expected[:, 1:2])
    np.testing.assert_array_equal(inside.run([Want()], prompts)[Want()], expected)


def test_what_is_not_finite_names_site_layer_and_prompt(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", token_budget=60)
    bad = Prompt(id="bad", messages=(user("~"),))
    tilde = inside.renderer.tokenizer("~", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        inside.sites.model.get_input_embeddings().weight[tilde] = float("nan")
    want = Want(site="mlp_out", positions=All(), reduce=MEAN, layers=(1,))
    with pytest.raises(DiagnosticError, match=r"mlp_out\[1\] holds NaN or infinity for prompt 'bad'"):
        inside.run([want], [*prompts, bad])


def test_nothing_is_left_behind_even_after_an_error(
    make: Any, tokenizer: Any, prompts: list[Prompt], count_hooks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make("llama").train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    settings = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.truncation_side, tokenizer.chat_template)
    inside = TransformersInside(model, tokenizer, digest="x")
    attention = model.config._attn_implementation
    wants = [Want(positions=EndOfInstruction()), Want(reduce=TopK(k=2)), Want(site="attn_prob"), Want(site="logits")]
    inside.run(wants, prompts, [Add(np.ones(32), layers=(1,))])

    def check() -> None:
        assert count_hooks(model) == 0
        assert [module.training for module in model.modules()] == modes
        now = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.truncation_side, tokenizer.chat_template)
        assert now == settings
        assert model.config._attn_implementation == attention
        assert {weight.device.type for weight in model.parameters()} == {"cpu"}

    check()
    for error in (KeyboardInterrupt, ValueError):

        def interrupt(*_: Any, error: type[BaseException] = error) -> None:
            raise error

        handle = model.model.layers[2].register_forward_pre_hook(interrupt)
        with pytest.raises(error):
            inside.run(wants, prompts, [Add(np.ones(32), layers=(1,))])
        handle.remove()
        check()
    monkeypatch.setattr("deepsight_torch.collecting.reduced", interrupt)  # inside a hook
    with pytest.raises(ValueError):
        inside.run(wants, prompts)
    check()


def test_another_threads_passes_are_not_mistaken_for_the_own(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want()
    expected = inside.run([want], prompts)[want]
    passes, ids = [], torch.randint(4, 200, (10, 300))

    def intrude(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 2:  # the first one reads what all texts share
            other = threading.Thread(target=inside.sites.model, args=(ids,))
            other.start()
            other.join()

    handle = inside.sites.blocks[1].register_forward_pre_hook(intrude)
    try:
        np.testing.assert_array_equal(inside.run([want], prompts)[want], expected)
    finally:
        handle.remove()
