"""What passes through the parts of a module while it runs, and the arithmetic by which parts are recognised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deepsight_torch.tensors import first, first_input

ROUNDINGS = 8
"""How many units of rounding a sum of three terms may be off; one addition is off by at most half a unit."""


@dataclass(frozen=True, eq=False)
class Part:
    """A module that ran, with what it took in and gave out, in float32 on the CPU."""

    name: str
    module: nn.Module
    input: Tensor
    output: Tensor
    args: tuple[Any, ...] = ()
    """All that it took in and gave out, as it was."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    returned: Any = None


class Trace:
    """While open, records what passes through a module and its parts, in the order in which they finish."""

    def __init__(self, module: nn.Module, parts: Iterable[tuple[str, nn.Module]] | None = None) -> None:
        self.module = module
        self.calls: list[Part] = []
        self.parts: list[Part] = []
        self._modules = list(parts if parts is not None else module.named_modules())
        self._stack = ExitStack()

    def __enter__(self) -> Trace:
        for name, module in self._modules:
            handle = module.register_forward_hook(self._recorder(name), with_kwargs=True)
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _recorder(self, name: str) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            taken, given = first_input(args, kwargs), first(output)
            if given is None or given.is_complex():
                return
            part = Part(name, module, kept(given if taken is None else taken), kept(given), args, kwargs, output)
            (self.calls if module is self.module else self.parts).append(part)

        return record

    @property
    def stream_in(self) -> Tensor:
        return self.calls[0].input

    @property
    def stream_out(self) -> Tensor:
        return self.calls[0].output


def kept(tensor: Tensor) -> Tensor:
    """A copy that later in-place changes do not reach."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def rounding(dtype: torch.dtype) -> float:
    """The unit of rounding of what was computed in `dtype` and is compared in float32."""
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def same(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.flatten(), other.flatten())


def is_sum(total: Tensor, terms: Sequence[Tensor], eps: float) -> bool:
    """Whether `total` is the sum of the terms, to the rounding that such a sum may have, coordinate by coordinate."""
    if total.numel() != terms[0].numel():
        return False
    size = sum(term.abs() for term in terms)
    return bool(((total.reshape(terms[0].shape) - sum(terms)).abs() <= ROUNDINGS * eps * size).all())


def factors(tensor: Tensor, target: Tensor, config: Any) -> tuple[float, ...]:
    """What `tensor` may be multiplied by to give `target`, likeliest first: nothing, a number of the model's config,
    or what fits best (least squares; 16-bit rounding blurs it, hence the config)."""
    fit = float((tensor * target).sum() / (tensor * tensor).sum().clamp_min(1e-30))
    known = [number for number in config.get_text_config().to_dict().values() if isinstance(number, float)]
    return (1.0, *(number for number in known if abs(number - fit) < 0.05 * abs(fit)), fit)


def depth(part: Part) -> int:
    """How many modules it lies within."""
    return part.name.count(".")


def outermost(parts: Sequence[Part]) -> Part:
    return min(parts, key=depth)
