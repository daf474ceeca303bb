"""Tensors: what modules take and return comes bare, in tuples, in model outputs, by position or by name."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from deepsight_torch.tensors import evaluating, first, first_input, put_back, put_first_input
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

Pair = namedtuple("Pair", ["states", "weights"])
STATES, OTHER, NEW = torch.ones(2, 3, 4), torch.zeros(2, 3), torch.full((2, 3, 4), 5.0)
RETURNED: dict[str, Any] = {
    "a bare tensor": STATES,
    "a tuple": (STATES, OTHER),
    "a tuple of one": (STATES,),
    "a tuple that begins with nothing": (None, STATES, OTHER),
    "a list": [STATES, OTHER],
    "a named tuple": Pair(STATES, OTHER),
    "a model output": BaseModelOutput(last_hidden_state=STATES, attentions=(OTHER,)),
    "a dictionary": {"states": STATES, "weights": OTHER},
}


@pytest.mark.parametrize("form", RETURNED)
def test_hidden_states_are_found_and_replaced_in(form: str) -> None:
    given = RETURNED[form]
    assert first(given) is STATES
    changed = put_back(given, NEW)
    assert type(changed) is type(given)
    assert first(changed) is NEW
    assert first(given) is STATES


def test_what_holds_no_tensor_has_no_hidden_states() -> None:
    assert first(None) is None
    assert first((None, 3)) is None


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((STATES, OTHER), {}),
        ((torch.ones(2, 3, dtype=torch.long), STATES), {"attention_mask": OTHER}),
        ((), {"attention_mask": OTHER, "hidden_states": STATES}),
        ((), {"input_ids": torch.ones(2, 3, dtype=torch.long), "x": STATES}),
    ],
)
def test_hidden_states_are_found_and_replaced_among_what_a_module_is_called_with(args: Any, kwargs: Any) -> None:
    assert first_input(args, kwargs) is STATES
    new_args, new_kwargs = put_first_input(args, kwargs, NEW)
    assert first_input(new_args, new_kwargs) is NEW
    assert (len(new_args), new_kwargs.keys()) == (len(args), kwargs.keys())
    assert first_input(args, kwargs) is STATES


@pytest.mark.parametrize(("family", "form"), [("llama", Tensor), ("bloom", tuple)])
def test_blocks_give_all_rows_whether_they_return_a_tensor_or_a_tuple(sites_of: Any, family: str, form: type) -> None:
    sites = sites_of(family)
    returned: list[Any] = []
    seen: list[Tensor] = []
    block = sites.blocks[1]
    handles = [
        block.register_forward_hook(lambda module, args, output: returned.append(output)),
        sites.tap("resid_out", 1).register(seen.append),
        sites.tap("resid_in", 2).register(seen.append),
    ]
    with torch.no_grad():
        sites.model(torch.tensor([[9, 80, 33], [7, 81, 34]]))
    for handle in handles:
        handle.remove()
    assert isinstance(returned[0], form)
    assert seen[0].shape == (2, 3, 32)
    assert torch.equal(*seen)


def test_every_module_is_as_it_was_after_an_evaluation() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval()).train()
    model[1].eval()
    with pytest.raises(RuntimeError), evaluating(model):
        assert not model.training
        assert torch.is_inference_mode_enabled()
        raise RuntimeError
    assert [module.training for module in model.modules()] == [True, True, False]
