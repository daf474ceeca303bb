"""Greedy answers: what transformers itself would write, and under edits what the edited model would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.editing import Editing
from deepsight_torch.generation import Writer

from deepsight_core import Prompt, user
from deepsight_core.edits import Ablate, Add, Edit, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, Want, Written

Opened = Callable[..., TransformersInside]
TOKENS = 12


def write(inside: TransformersInside, prompts: Sequence[Prompt], *edits: Edit, **options: Any) -> tuple[Written, ...]:
    budget = options.pop("budget", 1000)
    writer = Writer(inside.sites, inside.renderer, inside.geometry.context, budget)
    return writer.write(prompts, options.pop("tokens", TOKENS), edits, **options)


def ids_of(inside: TransformersInside, prompt: Prompt) -> list[int]:
    return list(inside.renderer.prompt(prompt.messages).ids)


def reread(inside: TransformersInside, prompt: Prompt, steps: int, *edits: Edit) -> tuple[int, ...]:
    """Greedy decoding without a cache: the whole text again at each step."""
    ids, written = ids_of(inside, prompt), list[int]()
    editing = Editing(inside.sites, edits)
    while len(written) < steps and 1 not in written:
        with torch.no_grad(), editing.batch([prompt.id], [0], [len(ids) + len(written)], [len(ids)]):
            logits = inside.sites.model(torch.tensor([ids + written]), use_cache=False).logits
        written.append(int(logits[0, -1].argmax()))
    return tuple(written)


def test_it_writes_what_transformers_would(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside = opened(family)
    for prompt, written in zip(prompts, write(inside, prompts), strict=True):
        ids = torch.tensor([ids_of(inside, prompt)])
        with torch.no_grad():
            expected = inside.sites.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False
            )
        assert written.tokens == tuple(expected[0, ids.shape[1] :].tolist())
        assert written.ended == (written.tokens[-1] == 1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mixtral", "opt", "qwen3-next"])
def test_edits_with_a_cache_are_edits_without_one(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside = opened(family)
    vector = np.random.default_rng(0).normal(size=32)
    edits = [
        Add(vector, layers=(1,), dose={"p0": 2.0, "p3": -3.0, "p7": 5.0}),
        Ablate(vector, "mlp_out"),
        Add(vector, "resid_in", (2,), dose=2.0, scope="prompt"),
        Add(vector, "attn_out", dose={"p1": 2.0, "p3": -2.0}, scope="answer"),
    ]
    edits = [edit for edit in edits if inside.sites.layers(edit.site)]
    for prompt, written in zip(prompts, write(inside, prompts, *edits), strict=True):
        assert written.tokens == reread(inside, prompt, TOKENS, *edits)


def test_edits_are_what_hooks_written_by_hand_do(opened: Opened, prompts: list[Prompt]) -> None:
    inside, vector = opened("llama"), np.random.default_rng(0).normal(size=32)
    shift = torch.tensor(vector, dtype=torch.float32)
    handle = inside.sites.blocks[1].register_forward_hook(lambda module, args, output: output + 3 * shift)
    try:
        expected = [reread(inside, prompt, TOKENS) for prompt in prompts]
    finally:
        handle.remove()
    found = write(inside, prompts, Add(vector, layers=(1,), dose=3.0))
    assert [written.tokens for written in found] == expected
    assert expected != [reread(inside, prompt, TOKENS) for prompt in prompts]


def test_a_patch_is_made_while_the_prompt_is_read(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want(site="embed", positions=All())
    source, other = (
        Prompt(id=id, messages=(user(f"How do I {what}?"),)) for id, what in (("a", "sing"), ("b", "swim"))
    )
    states = inside.run([want], [source]).each(want)[0]
    plain, own = write(inside, [other, source])
    patched = write(inside, [other, source], Patch({"b": states}, "embed", positions=All()))
    assert [written.tokens for written in patched] == [own.tokens, own.tokens]
    assert plain.tokens != own.tokens


def test_the_size_of_batches_does_not_matter(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("gpt2")
    assert write(inside, prompts, budget=1) == write(inside, prompts, budget=10_000)


def test_rows_leave_when_they_have_ended(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    usual = write(inside, prompts, tokens=30)
    writer = Writer(inside.sites, inside.renderer, None, 10_000)
    writer._ends = frozenset({usual[0].tokens[3], usual[4].tokens[8]})
    sizes: list[int] = []
    handle = inside.sites.blocks[0].register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    found = writer.write(prompts, 30)
    handle.remove()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    for short, long in zip(found, usual, strict=True):
        place = next((n for n, token in enumerate(long.tokens) if token in writer._ends), None)
        assert short.ended == (place is not None)
        assert short.tokens == (long.tokens if place is None else long.tokens[: place + 1])


def test_equal_texts_are_written_once_unless_their_edits_differ(opened: Opened, prompts: list[Prompt]) -> None:
    inside, vector = opened("llama"), np.random.default_rng(0).normal(size=32)
    same = [Prompt(id=id, messages=prompts[0].messages) for id in "abcd"]
    sizes: list[int] = []
    handle = inside.sites.blocks[0].register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    plain = write(inside, same, Add(vector, layers=(0,)))
    assert sizes[0] == 1
    sizes.clear()
    dosed = write(inside, same, Add(vector, layers=(0,), dose={"a": 1.0, "b": 1.0, "c": 9.0}))
    handle.remove()
    assert sizes[0] == 3  # "d" is not named: it stays as it is
    assert [written.id for written in plain] == [written.id for written in dosed] == list("abcd")
    assert dosed[0].tokens == dosed[1].tokens == plain[0].tokens
    assert dosed[3].tokens == reread(inside, same[3], TOKENS)


def test_raw_prompts_are_read_without_a_template(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    found = write(inside, prompts[:2], raw=True)
    for prompt, written in zip(prompts, found, strict=False):
        ids = torch.tensor([inside.renderer.prompt(prompt.messages, raw=True).ids])
        with torch.no_grad():
            assert written.tokens[0] == int(inside.sites.model(ids).logits[0, -1].argmax())


def test_a_prompt_that_fills_the_context_is_refused_by_name(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    short = len(ids_of(inside, prompts[0])) + 2
    assert len(Writer(inside.sites, inside.renderer, short, 1000).write(prompts[:1], 9)[0].tokens) <= 2
    with pytest.raises(DiagnosticError, match=r"prompt 'p1': \d+ tokens leave no room for an answer in the context"):
        Writer(inside.sites, inside.renderer, short, 1000).write(prompts[:4], 9)


def test_what_is_not_finite_is_no_answer(opened: Opened, prompts: list[Prompt]) -> None:
    with pytest.raises(DiagnosticError, match="NaN or infinity for prompt 'p0'"):
        write(opened("llama"), prompts[:1], Add(np.full(32, 1e30), layers=(2,)), Scale(1e30, "resid_out"))


def test_bfloat16_writes_under_edits(make: Callable[..., Any], tokenizer: Any, prompts: list[Prompt]) -> None:
    inside = TransformersInside(make("llama", torch.bfloat16), tokenizer, digest="")
    vector = np.random.default_rng(0).normal(size=32)
    plain, idle = write(inside, prompts[:3]), write(inside, prompts[:3], Add(vector, dose=0.0))
    assert idle == plain
    assert write(inside, prompts[:3], Add(vector, dose=5.0)) != plain
