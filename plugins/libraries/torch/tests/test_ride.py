"""Riding: generation's own prefill gives what a pass of its own would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside

from deepsight_core import Prompt, Want
from deepsight_core.inside import All, Last, MeanTokens, Span, TopK

Opened = Callable[..., TransformersInside]
WANTS = [
    Want(positions=Last(k=2)),
    Want(site="attn_out", positions=All(), reduce=MeanTokens()),
    Want(site="embed"),
    Want(positions=Span(name="user"), layers=(1,)),
    Want(reduce=TopK(k=2), layers=(2,)),
]


def generate(inside: TransformersInside, prompts: Sequence[Prompt], **options: Any) -> list[int]:
    """Three tokens for each prompt, from one left-padded batch; what was generated."""
    rows = [inside.renderer.prompt(prompt.messages).ids for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with inside.prefill(rows):
        out = inside.sites.model.generate(ids, attention_mask=mask, max_new_tokens=3, do_sample=False, **options)
    return out[:, width:].tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral", "gemma2", "opt", "mixtral"])
def test_a_ride_gives_what_a_run_gives(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    expected = opened(family).run(WANTS, prompts)
    inside = opened(family, seed=1)
    with inside.ride(WANTS, prompts):
        generate(inside, prompts[:6])
        generate(inside, prompts[6:9])
    acts = inside.run(WANTS, prompts)
    assert acts.captured == {"ridden": 9, "computed": 1}
    assert acts.error < 1e-5
    for want in WANTS:
        for found, computed in zip(acts.each(want), expected.each(want), strict=True):
            np.testing.assert_allclose(found, computed, rtol=1e-3, atol=1e-5)


def test_a_worker_thread_may_generate(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", seed=1)
    with inside.ride(WANTS, prompts):
        worker = threading.Thread(target=generate, args=(inside, prompts))
        worker.start()
        worker.join()
    assert inside.run(WANTS, prompts).captured == {"ridden": 10}


def test_riding_changes_no_answer_and_leaves_no_hook(opened: Opened, prompts: list[Prompt], count_hooks: Any) -> None:
    inside = opened("llama", seed=1)
    expected = generate(inside, prompts)
    with inside.ride(WANTS, prompts):
        assert generate(inside, prompts) == expected
        assert count_hooks(inside.sites.model) == 0


def test_prefill_without_a_ride_hooks_nothing(opened: Opened, prompts: list[Prompt], count_hooks: Any) -> None:
    inside = opened("llama", seed=1)
    with inside.prefill([inside.renderer.prompt(prompts[0].messages).ids]):
        assert count_hooks(inside.sites.model) == 0


def test_texts_that_nobody_wants_are_not_kept(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", seed=1)
    with inside.ride(WANTS, prompts[:2]):
        generate(inside, prompts)
    assert inside.run(WANTS, prompts).captured == {"ridden": 2, "computed": 8}


def test_a_prefill_in_chunks_is_left_to_the_run(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", seed=1)
    with inside.ride(WANTS, prompts):
        generate(inside, prompts, prefill_chunk_size=16)
    assert inside.run(WANTS, prompts).captured == {"computed": 10}


def test_a_generation_that_breaks_leaves_nothing_behind(
    opened: Opened, prompts: list[Prompt], count_hooks: Any
) -> None:
    inside = opened("llama", seed=1)
    rows = [inside.renderer.prompt(prompts[0].messages).ids]
    with pytest.raises(RuntimeError, match="broke"), inside.ride(WANTS, prompts), inside.prefill(rows):
        raise RuntimeError("broke")
    assert count_hooks(inside.sites.model) == 0
    assert inside.run(WANTS, prompts).captured == {"computed": 10}


def test_answers_are_left_to_the_run_and_misfits_do_not_stop_the_evaluation(
    opened: Opened, prompts: list[Prompt]
) -> None:
    inside = opened("llama", seed=1)
    answers = Want(positions=Span(name="response"), reduce=MeanTokens(), text="exchange")
    too_many = Want(positions=Last(k=70))
    with inside.ride([answers, too_many, *WANTS], prompts):
        generate(inside, prompts)
    assert inside.run([answers], prompts).captured == {"computed": 10}
