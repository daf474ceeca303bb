"""The store: what was computed once is read again, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepsight_torch import Renderer, TransformersInside

from deepsight_core import Prompt, Want
from deepsight_core.inside import ClassMoments, EndOfInstruction, Last, MeanTokens, Project, Span, Steps

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


def test_positions_that_vary_are_stored_beside_those_that_do_not(reopened: Any, prompts: list[Prompt]) -> None:
    wants = [Want(positions=Span(name="user")), Want(positions=Steps(), text="exchange", layers=(1,)), Want()]
    first, second = reopened().run(wants, prompts), reopened().run(wants, prompts[::-1])
    assert (first.captured, second.captured) == ({"computed": 20}, {"store": 20})
    for want in wants:
        for found, expected in zip(second.each(want)[::-1], first.each(want), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_reductions_are_not_mistaken_for_each_other(reopened: Any, prompts: list[Prompt]) -> None:
    axes = [tuple(float(n == k) for n in range(32)) for k in (1, 2)]
    one, other, both = (Want(reduce=Project(vectors=v)) for v in ((axes[0],), (axes[1],), tuple(axes)))
    assert reopened().run([one], prompts).captured == {"computed": 10}
    for want in (other, both, Want(reduce=MeanTokens()), Want(raw=True)):
        assert reopened().run([want], prompts).captured == {"computed": 10}


def test_what_keeps_moments_alone_is_not_stored(reopened: Any, prompts: list[Prompt]) -> None:
    want = Want(collect=ClassMoments(by="kind"))
    reopened().run([want], prompts)
    assert reopened().run([want], prompts).captured == {"computed": 10}
    reopened().run([Want(), want], prompts)
    assert reopened().run([want], prompts).captured == {"store": 10}


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
