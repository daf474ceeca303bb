"""The few differences between how transformers modules take and return tensors, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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


def put_back(value: Any, tensor: Tensor) -> Any:
    """What a module returns, with `tensor` in place of the hidden states that `first` finds; the original stays."""
    if isinstance(value, Tensor):
        return tensor
    if isinstance(value, Mapping):
        name = next(name for name, item in value.items() if isinstance(item, Tensor))
        return type(value)(**{**value, name: tensor})
    place = next(n for n, item in enumerate(value) if isinstance(item, Tensor))
    items = [*value[:place], tensor, *value[place + 1 :]]
    return value._make(items) if hasattr(value, "_make") else type(value)(items)


def put_first_input(args: Sequence[Any], kwargs: Mapping[str, Any], tensor: Tensor) -> tuple[tuple[Any, ...], Any]:
    """What a module is called with, with `tensor` in place of the hidden states that `first_input` finds."""
    old = first_input(args, kwargs)
    for place, value in enumerate(args):
        if value is old:
            return (*args[:place], tensor, *args[place + 1 :]), dict(kwargs)
    name = next(name for name, value in kwargs.items() if value is old)
    return tuple(args), {**kwargs, name: tensor}


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


@contextmanager
def differentiating(
    model: nn.Module, parameters: Sequence[nn.Parameter] = (), hook: Callable[[Tensor], None] | None = None
) -> Iterator[None]:
    """The model in evaluation mode, with gradients for these parameters alone, each handed to `hook` as soon as it is
    complete; everything is as it was afterwards."""
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    handles = []
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter, _, _ in before:
                parameter.requires_grad_(False)
                parameter.grad = None
            for parameter in parameters:
                parameter.requires_grad_(True)
                handles.append(parameter.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
            yield
        finally:
            for handle in handles:
                handle.remove()
            for parameter, needed, gradient in before:
                parameter.requires_grad_(needed)
                parameter.grad = gradient
