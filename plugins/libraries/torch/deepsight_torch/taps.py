"""Where a site's value passes: one side of one module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.utils.hooks import RemovableHandle

from deepsight_torch.tensors import first, first_input


@dataclass(frozen=True)
class Tap:
    """One side of one module; `scale` turns what passes there into the site's value."""

    module: nn.Module
    side: Literal["in", "out"]
    width: int
    scale: float = 1.0
    item: int | None = None
    """Which item of what the module returns; None for its hidden states."""

    def register(self, hook: Callable[[Any], None]) -> RemovableHandle:
        """Call `hook(tensor)` with what passes, whenever it passes."""
        if self.side == "in":

            def before(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
                hook(first_input(args, kwargs))

            return self.module.register_forward_pre_hook(before, with_kwargs=True)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            hook(first(output) if self.item is None else output[self.item])

        return self.module.register_forward_hook(after)
