"""Unembedding: hidden states become the logits that the model itself would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from deepsight_torch.sites import Sites

from deepsight_core.errors import DiagnosticError

IDS = torch.tensor([[9, 80, 33, 41, 7]])


def test_what_leaves_the_last_block_becomes_the_logits(
    sites_of: Callable[[str], Sites], family: str, count_hooks: Any
) -> None:
    sites = sites_of(family)
    seen: list[torch.Tensor] = []
    handles = [
        sites.tap("resid_out", len(sites.blocks) - 1).register(seen.append),
        sites.tap("final", None).register(seen.append),
    ]
    with torch.no_grad():
        expected = sites.model(IDS).logits
        for handle in handles:
            handle.remove()
        for hidden, normed in zip(seen, (False, True), strict=True):
            torch.testing.assert_close(sites.unembed(hidden, normed), expected, rtol=1e-5, atol=1e-5)
    assert count_hooks(sites.model) == 0


def test_hooks_of_the_pass_that_is_going_on_are_not_called(sites_of: Callable[[str], Sites]) -> None:
    sites = sites_of("llama")
    seen: list[torch.Tensor] = []
    handle = sites.tap("final", None).register(seen.append)
    with torch.no_grad():
        sites.unembed(torch.ones(2, 32), normed=False)
    handle.remove()
    assert not seen


def test_logits_of_a_model_in_sixteen_bits_are_float32(make: Any) -> None:
    sites = Sites(make("gemma2", torch.bfloat16), range(20, 40))
    with torch.no_grad():
        logits = sites.unembed(torch.ones(3, 32, dtype=torch.float32), normed=False)
    assert logits.dtype == torch.float32
    assert float(logits.abs().max()) < 2.0  # the cap


def test_a_head_whose_output_is_not_the_logits_is_refused(make: Any) -> None:
    model = make("llama")
    model.lm_head.register_forward_hook(lambda module, args, output: output.sin())
    model.register_forward_hook(lambda module, args, output: setattr(output, "logits", output.logits.square()))
    sites = Sites(model, range(20, 40))
    with pytest.raises(DiagnosticError, match="no site logits: what the head gives"):
        sites.unembed(torch.ones(1, 32), normed=True)
