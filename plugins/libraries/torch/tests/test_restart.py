"""Starting a pass in the middle gives what the whole pass gives, to the bit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside, restart
from deepsight_torch.editing import Editing
from deepsight_torch.forward import decode
from deepsight_torch.restart import restarted
from deepsight_torch.sites import Sites
from deepsight_torch.tensors import evaluating

from deepsight_core.edits import Add

Opened = Callable[..., TransformersInside]

TEXT = [5, 9, 40, 77, 31, 8, 120]
IDS = torch.tensor([TEXT, TEXT[::-1], TEXT, TEXT])
LAYER = 2


def pass_of(sites: Sites, edit: Add, layer: int, ids: torch.Tensor = IDS) -> tuple[np.ndarray, int]:
    """What leaves the last block when each row has a dose of its own, and how many rows the first block read."""
    seen: list[np.ndarray] = []
    rows = [0]

    def count(module: Any, args: Any, kwargs: Any) -> None:
        rows[0] += 0 if vars(sites.blocks[0]).get("forward") else ids.shape[0]

    names = [str(row) for row in range(len(ids))]
    lengths = [ids.shape[1]] * len(ids)
    with evaluating(sites.model), ExitStack() as stack:
        stack.enter_context(restarted(sites, layer, ids))
        stack.enter_context(Editing(sites, [edit]).batch(names, [0] * len(ids), lengths, lengths))
        last = sites.tap("resid_out", len(sites.blocks) - 1)
        stack.callback(last.register(lambda x: seen.append(x.numpy().copy())).remove)
        stack.callback(sites.blocks[0].register_forward_pre_hook(count, with_kwargs=True).remove)
        decode(sites.decoder, ids)
    return seen[0], rows[0]


def dosed(layer: int) -> Add:
    vector = np.random.default_rng(0).normal(size=32)
    return Add(vector, layers=(layer,), dose={"0": 1.0, "1": -1.0, "3": 2.0})


def test_a_restarted_pass_is_the_whole_pass(opened: Opened, family: str, families: dict[str, Any]) -> None:
    sites = opened(family).sites
    whole, _ = pass_of(sites, dosed(LAYER), layer=0)
    found, read = pass_of(sites, dosed(LAYER), layer=LAYER)
    assert read == 0  # on one text the self-check found no difference to the bit
    if family in families["mixtures"]:  # an expert's matrix product is summed in another order for fewer tokens
        assert np.abs(found - whole).max() < 1e-5
    else:
        assert np.array_equal(found, whole)


def test_padding_is_part_of_what_makes_texts_distinct(opened: Opened) -> None:
    sites = opened("bloom").sites  # it is given a mask
    mask = torch.ones_like(IDS)
    mask[3, 5:] = 0
    seen = []
    for layer in (0, LAYER):
        with evaluating(sites.model), restarted(sites, layer, IDS, mask):
            seen.append(decode(sites.decoder, IDS, mask).last_hidden_state.numpy())
    assert np.array_equal(*seen)


def test_texts_that_do_not_repeat_are_read_as_usual(opened: Opened) -> None:
    sites = opened("llama").sites
    assert pass_of(sites, dosed(LAYER), LAYER, IDS[:2])[1] == 2


def test_edits_of_everything_are_made_once(opened: Opened) -> None:
    sites = opened("llama").sites
    with Editing(sites, [Add(np.ones(32)), Add(np.ones(32), "resid_in"), Add(np.ones(32), "resid_mid")]).everywhere():
        whole, _ = pass_of(sites, dosed(LAYER), layer=0)
        found, read = pass_of(sites, dosed(LAYER), layer=LAYER)
    assert read == 0
    assert np.array_equal(found, whole)


def test_another_thread_reads_the_whole_model_meanwhile(opened: Opened) -> None:
    sites = opened("llama").sites
    found: list[torch.Tensor] = []

    def look() -> None:
        with torch.inference_mode():
            found.append(decode(sites.decoder, IDS[:2]).last_hidden_state)

    look()
    with evaluating(sites.model), restarted(sites, LAYER, IDS):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert torch.equal(*found)


def test_a_family_that_wants_more_than_hidden_states_is_read_whole(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = opened("llama").sites
    monkeypatch.setattr(restart, "_proved", lambda sites, layer: False)
    monkeypatch.setattr(restart, "_allowed", {})
    assert pass_of(sites, dosed(LAYER), LAYER)[1] == 4


def test_blocks_run_as_before_after_an_error(opened: Opened, count_hooks: Callable[[Any], int]) -> None:
    sites = opened("gpt2").sites
    before, expected = count_hooks(sites.model), pass_of(sites, dosed(LAYER), 0)[0]
    with pytest.raises(KeyboardInterrupt), evaluating(sites.model), restarted(sites, LAYER, IDS):
        raise KeyboardInterrupt
    assert not any("forward" in vars(block) for block in sites.blocks)
    assert count_hooks(sites.model) == before
    assert np.array_equal(pass_of(sites, dosed(LAYER), 0)[0], expected)
