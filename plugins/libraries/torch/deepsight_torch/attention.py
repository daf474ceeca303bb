"""Attention weights: the implementation that returns them, and the modules that do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from deepsight_torch.taps import Tap


class Eager:
    """Switches a decoder to eager attention while anybody holds it. The fused kernels do not return weights.

    The switch is seen by all threads: whoever uses the model meanwhile gets the same values, but for rounding.
    """

    def __init__(self, decoder: nn.Module) -> None:
        configs = {id(c): c for module in decoder.modules() if hasattr(c := getattr(module, "config", None), "to_dict")}
        self._configs: list[Any] = list(configs.values())
        self._before: list[str | None] = []
        self._holders = 0
        self._lock = threading.Lock()

    def hold(self) -> None:
        with self._lock:
            if not self._holders:
                self._before = [config._attn_implementation for config in self._configs]
                self._set(["eager"] * len(self._configs))
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._set(self._before)

    def _set(self, implementations: Sequence[str | None]) -> None:
        for config, implementation in zip(self._configs, implementations, strict=True):
            config._attn_implementation_internal = implementation  # the public name would set sub-configurations too


@dataclass(frozen=True)
class Release:
    """A hook's handle that also lets go of eager attention."""

    handle: RemovableHandle
    eager: Eager

    def remove(self) -> None:
        self.handle.remove()
        self.eager.release()


@dataclass(frozen=True)
class AttentionTap(Tap):
    """Attention weights as (batch, tokens, heads * keys), keys varying fastest: the weight of every column of the pass,
    columns of a cache first, with 0 where a token may not look. `width` is the number of heads; the keys are as many
    as the pass has columns, or as the window holds. While a hook is registered the model's attention is eager."""

    eager: Eager = field(kw_only=True)

    def register(self, hook: Callable[[Any], None]) -> Any:
        self.eager.hold()
        try:
            handle = self.module.register_forward_hook(lambda module, args, output: hook(_side_by_side(_of(output))))
        except BaseException:
            self.eager.release()
            raise
        return Release(handle, self.eager)


def attention_taps(blocks: Sequence[nn.Module], eager: Eager, run: Callable[[], None]) -> list[AttentionTap | None]:
    """By block: where its attention weights leave, if `run`, one forward pass of one text, shows any.

    They are known by their form: (batch, heads, tokens, tokens), nowhere negative, and summing to at most 1 over the
    keys (a sink takes the rest).
    """
    found: list[AttentionTap | None] = [None] * len(blocks)

    def watch(layer: int) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            weights = _of(output)
            if found[layer] is None and weights is not None and _are_weights(weights):
                found[layer] = AttentionTap(module, "out", weights.shape[1], eager=eager)

        return look

    with ExitStack() as stack:
        eager.hold()
        stack.callback(eager.release)
        for layer, block in enumerate(blocks):
            for module in block.modules():
                stack.callback(module.register_forward_hook(watch(layer)).remove)
        run()
    return found


def _of(output: Any) -> Tensor | None:
    """The attention weights among what a module returns: the only thing with four axes."""
    items = output if isinstance(output, tuple) else ()
    return next((item for item in items if isinstance(item, Tensor) and item.ndim == 4), None)


def _are_weights(weights: Tensor) -> bool:
    if weights.shape[2] != weights.shape[3] or not weights.is_floating_point() or bool((weights < 0).any()):
        return False
    return float(weights.float().sum(-1).max()) < 1.02


def _side_by_side(weights: Tensor | None) -> Tensor:
    assert weights is not None
    return weights.transpose(1, 2).flatten(2)
