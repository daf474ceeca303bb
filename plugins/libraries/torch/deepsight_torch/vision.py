"""Where a model's images pass: the blocks of its vision tower, and what they become among the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from deepsight_torch.taps import Tap
from deepsight_torch.tensors import first
from deepsight_torch.trace import Part, Trace, same

ANYWHERE = 1 << 20
"""More tokens than a text has."""


@dataclass(frozen=True)
class VisionTap(Tap):
    """What leaves a block of the vision tower, averaged over all patches of a text's images, in float32.

    Patches are not tokens: every token of the text is shown the same vector, without its being copied, so that it is
    found wherever one looks. For texts that are read one by one.
    """

    def register(self, hook: Callable[[Any], None]) -> RemovableHandle:
        def average(module: nn.Module, args: Any, output: Any) -> None:
            patches = first(output)
            assert patches is not None
            mean = patches.detach().flatten(0, -2).float().mean(0)
            hook(mean.expand(1, ANYWHERE, -1))

        return self.module.register_forward_hook(average)


@dataclass(frozen=True)
class Look:
    """What passed while a text with images was read."""

    blocks: Sequence[Trace]
    """The decoder's blocks, without their parts."""
    outside: Trace
    """Everything but the decoder."""
    taps: Sequence[VisionTap]
    """By block of the vision tower."""

    def enters(self, images: Sequence[int]) -> bool:
        """Whether what enters the decoder at these tokens is what some part outside gave out.

        In any order: some towers work through windows, and what comes out is put back in place by no module.
        """
        stream = _ordered(self.blocks[0].stream_in[0, list(images)])
        given = (part.output.reshape(-1, part.output.shape[-1]) for part in self.outside.parts)
        return any(rows.shape == stream.shape and torch.equal(_ordered(rows), stream) for rows in given)


def look(model: nn.Module, decoder: nn.Module, blocks: Sequence[nn.Module], run: Callable[[], None]) -> Look:
    """Watch a model while `run` lets it read one text with images."""
    inner = {id(module) for module in decoder.modules()}
    parts = [(name, module) for name, module in model.named_modules() if name and id(module) not in inner]
    outside, inside = Trace(model, parts), [Trace(block, [("", block)]) for block in blocks]
    with ExitStack() as stack:
        for trace in (*inside, outside):
            stack.enter_context(trace)
        run()
    return Look(inside, outside, [VisionTap(part.module, "out", part.output.shape[-1]) for part in _tower(outside)])


def _tower(outside: Trace) -> Sequence[Part]:
    """The blocks of the vision tower, as they ran: of all lists whose members hand on one stream, the one that holds
    most. None without."""
    ran: dict[int, list[Part]] = {}
    for part in outside.parts:
        ran.setdefault(id(part.module), []).append(part)
    towers = []
    for part in outside.parts:
        for module in part.module.children():
            calls = [ran.get(id(member), []) for member in module.children()]
            if not isinstance(module, nn.ModuleList) or not calls or any(len(one) != 1 for one in calls):
                continue
            blocks = [one for (one,) in calls]
            if all(same(before.output, after.input) for before, after in pairwise(blocks)):
                towers.append((sum(weight.numel() for weight in module.parameters()), blocks))
    return max(towers, key=lambda tower: tower[0], default=(0, []))[1]


def _ordered(rows: Tensor) -> Tensor:
    return rows[rows[:, 0].argsort()]
