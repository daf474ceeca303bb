"""The store: what was computed once is read again, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepsight_torch import Renderer, TransformersInside

from deepsight_core import Prompt, Want
from deepsight_core.inside import EndOfInstruction, Last

WANTS = [Want(positions=Last(k=2)), Want(site="mlp_out", layers=(0, 2))]


@pytest.fixture
def reopened(make: Any, tokenizer: Any, tmp_path: Path) -> Any:
    """Opens one model on one store, as another process would."""
    model = make("llama")

    def reopen(renderer: Any = tokenizer, digest: str = "weights") -> TransformersInside:
        return TransformersInside(model, renderer, digest=digest, store=tmp_path / "activations")

    return reopen


def test_another_process_reads_what_was_computed(reopened: Any, prompts: list[Prompt]) -> None:
    first = reopened().run(WANTS, prompts[:7])
    second = reopened().run(WANTS, prompts)
    assert (first.captured, second.captured) == ({"computed": 7}, {"store": 7, "computed": 3})
    for want in WANTS:
        np.testing.assert_array_equal(second[want][:7], first[want])
    assert second.error < 1e-5


def test_fewer_layers_are_read_and_more_are_computed(reopened: Any, prompts: list[Prompt]) -> None:
    inside = reopened()
    inside.run([Want(layers=(0, 2))], prompts)
    assert inside.run([Want(layers=(2,))], prompts).captured == {"store": 10}
    assert inside.run([Want()], prompts).captured == {"computed": 10}
    assert inside.run([Want()], prompts).captured == {"store": 10}


def test_other_weights_templates_and_positions_are_not_mistaken(
    reopened: Any, tokenizer: Any, prompts: list[Prompt]
) -> None:
    reopened().run([Want()], prompts)
    assert reopened(digest="other").run([Want()], prompts).captured == {"computed": 10}
    assert reopened(Renderer(tokenizer, "plain")).run([Want()], prompts).captured == {"computed": 10}
    assert reopened().run([Want(positions=EndOfInstruction())], prompts).captured == {"computed": 10}


def test_what_was_ridden_is_stored(reopened: Any, prompts: list[Prompt]) -> None:
    import torch

    inside = reopened()
    ids = inside.renderer.prompt(prompts[0].messages).ids
    with inside.ride(WANTS, prompts), inside.prefill([ids]), torch.no_grad():
        inside.sites.model(torch.tensor([ids]))
    assert reopened().run(WANTS, prompts).captured == {"store": 1, "computed": 9}


def test_an_interrupted_pass_keeps_the_batches_that_it_finished(reopened: Any, prompts: list[Prompt]) -> None:
    inside = reopened()
    inside.token_budget = 100
    batches = []

    def interrupt(*_: Any) -> None:
        batches.append(1)
        if len(batches) > 3:
            raise KeyboardInterrupt

    handle = inside.sites.blocks[2].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        inside.run([Want()], prompts)
    handle.remove()
    again = reopened().run([Want()], prompts)
    assert again.captured["store"] > 0
    assert again.captured["store"] + again.captured["computed"] == 10


def test_a_half_written_file_is_not_seen(reopened: Any, prompts: list[Prompt], tmp_path: Path) -> None:
    reopened().run([Want()], prompts)
    (index,) = (tmp_path / "activations").glob("*.json")
    index.unlink()  # the index is written last
    assert reopened().run([Want()], prompts).captured == {"computed": 10}
