"""Mixtures of experts: who routes, who mixes, and where the weight of each expert enters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from deepsight_torch.placement import present
from deepsight_torch.taps import Tap
from deepsight_torch.trace import Part, depth, rounding

Weigh = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Experts:
    """The experts of one block. They come in three forms:

    indexed   one module holds all in parameters with an axis for them; it is called with hidden states, with the k
              experts of each token (tokens, k), and with their weights (tokens, k)
    stacked   likewise one module, but it is called with the inputs of all experts, one expert after another
              (experts * tokens, width), already weighted
    listed    each expert is a module; it is called with the tokens that are routed to it
    """

    form: Literal["indexed", "stacked", "listed"]
    module: nn.Module
    """What holds them; of the form `listed`, the list."""
    name: str
    """The module's name within its block."""
    count: int
    parameters: tuple[str, ...] = ()
    """Names within the module of the parameters whose first axis is the expert; of `listed` experts there are none."""
    indices: int | str | None = None
    """Which argument of an `indexed` module the experts are: its position or name."""
    weights: int | str | None = None
    """Which argument their weights are."""

    def register(self, weigh: Weigh) -> list[RemovableHandle]:
        """Weigh what the experts contribute: `weigh(weights, experts)` returns the weights to be used instead.

        Both have the shape (tokens, k), tokens being those of the whole batch, row by row. In the forms that show no
        weights they are 1: of `stacked` experts all are asked about at once, k being their number, and of `listed`
        experts each is asked about by itself, with a token for each that is routed to it, in an order of its own.
        """
        if self.form == "indexed":
            return [self.module.register_forward_pre_hook(self._weighed_before(weigh), with_kwargs=True)]
        if self.form == "stacked":
            return [self.module.register_forward_hook(self._weighed_after(weigh))]
        experts = enumerate(self.module.children())
        return [expert.register_forward_hook(_weighed_alone(weigh, number)) for number, expert in experts]

    def _weighed_before(self, weigh: Weigh) -> Callable[..., Any]:
        def before(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            values: dict[int | str | None, Any] = dict(enumerate(args))
            values.update(kwargs)
            values[self.weights] = weigh(values[self.weights], values[self.indices])
            return tuple(values[n] for n in range(len(args))), {name: values[name] for name in kwargs}

        return before

    def _weighed_after(self, weigh: Weigh) -> Callable[..., Tensor]:
        def after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            tokens = output.shape[:-1].numel() // self.count
            experts = torch.arange(self.count, device=output.device).expand(tokens, -1)
            factors = weigh(output.new_ones(tokens, self.count), experts)
            return (output.reshape(self.count, tokens, -1) * factors.T[..., None]).reshape(output.shape)

        return after


def _weighed_alone(weigh: Weigh, number: int) -> Callable[..., Tensor]:
    def after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        tokens = output.shape[:-1].numel()
        experts = torch.full((tokens, 1), number, device=output.device)
        return output * weigh(output.new_ones(tokens, 1), experts).reshape(*output.shape[:-1], 1)

    return after


def find_experts(parts: Sequence[Part], block: nn.Module, tokens: int) -> tuple[Experts, Tap | None] | None:
    """The experts of a block of which `parts` is what happened on so many tokens, and where the logits over them pass.

    The router is known by its arithmetic: something that it returns is its input times a matrix of its own with a row
    for each expert, plus a bias if it has one.
    """
    found = next(filter(None, (_fused(part, tokens) for part in sorted(parts, key=depth))), None) or _listed(block)
    if found is None:
        return None
    routers = (_router(part, found.count, tokens) for part in sorted(parts, key=depth))
    router = next(filter(None, routers), None)
    if found.form != "indexed" and router is None:  # nothing but the router tells such experts from other lists
        return None
    return found, router


def _fused(part: Part, tokens: int) -> Experts | None:
    """A module with parameters of three axes, the first one as long in all of them."""
    own = dict(part.module.named_parameters(recurse=False))
    counts = {weight.shape[0] for weight in own.values() if weight.ndim == 3}
    if len(counts) != 1 or (count := counts.pop()) < 2:
        return None
    names = tuple(name for name, weight in own.items() if weight.ndim > 1 and weight.shape[0] == count)
    arguments: dict[int | str, Any] = dict(enumerate(part.args))
    arguments.update(part.kwargs)
    tensors = {place: value for place, value in arguments.items() if isinstance(value, Tensor)}
    for indices, chosen in tensors.items():
        if chosen.is_floating_point() or chosen.shape[:-1].numel() != tokens:
            continue
        for weights, value in tensors.items():
            if value.is_floating_point() and value.shape == chosen.shape:
                return Experts("indexed", part.module, part.name, count, names, indices, weights)
    if part.output.shape[:-1].numel() == count * tokens:
        return Experts("stacked", part.module, part.name, count, names)
    return None


def _listed(block: nn.Module) -> Experts | None:
    for name, module in block.named_modules():
        shapes = [[tuple(weight.shape) for weight in member.parameters()] for member in module.children()]
        if isinstance(module, nn.ModuleList) and len(shapes) > 1 and shapes[0] and all(s == shapes[0] for s in shapes):
            return Experts("listed", module, name, len(shapes))
    return None


def _router(part: Part, count: int, tokens: int) -> Tap | None:
    shape = count, part.input.shape[-1]
    if all(weight.shape != shape for weight in part.module.parameters(recurse=False)):
        return None
    with present(part.module):
        own = [weight.detach().float().cpu() for weight in part.module.parameters(recurse=False)]
        dtype = next(part.module.parameters(recurse=False)).dtype
    expected = part.input.reshape(tokens, -1) @ next(weight for weight in own if weight.shape == shape).T
    biased = expected + next((weight for weight in own if weight.shape == (count,)), torch.zeros(()))
    tolerance = 64 * rounding(dtype)
    items = part.returned if isinstance(part.returned, tuple) else (part.returned,)
    for item, value in enumerate(items):
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel() == expected.numel():
            logits = value.float().cpu().reshape(expected.shape)
            if any(
                float((logits - wanted).norm()) <= tolerance * float(wanted.norm()) for wanted in (expected, biased)
            ):
                return Tap(part.module, "out", count, item=item if isinstance(part.returned, tuple) else None)
    return None
