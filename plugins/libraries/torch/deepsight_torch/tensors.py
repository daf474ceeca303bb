"""The few differences between how transformers modules take and return tensors, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def first(value: Any) -> Tensor | None:
    """The hidden states among what a module returns: a bare tensor, or the first one of a tuple or model output."""
    if isinstance(value, Tensor):
        return value
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    return next((item for item in values if isinstance(item, Tensor)), None)


def first_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The hidden states among what a module is called with, by position or by name."""
    values = (*args, kwargs.get("hidden_states"), *kwargs.values())
    return next((value for value in values if isinstance(value, Tensor) and value.is_floating_point()), None)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; every module's own mode comes back afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True
