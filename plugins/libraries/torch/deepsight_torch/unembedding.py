"""Turn hidden states into logits as the model itself does: final norm, head, scale, cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepsight_core.errors import DiagnosticError
from deepsight_torch.tensors import first
from deepsight_torch.trace import factors, kept

TOLERANCE = 2e-2
"""Relative difference that the rounding of 16-bit logits may make."""


@dataclass(frozen=True)
class Unembedding:
    """`head(norm(hidden))`, times `scale`, or capped at +-`cap` by a tanh."""

    norm: nn.Module | None
    """None when no single module turns what leaves the last block into what the head takes in."""
    head: nn.Module
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, hidden: Tensor, normed: bool) -> Tensor:
        """Logits (..., vocabulary) in float32 of hidden states (..., width). `normed`: the final norm was applied."""
        if not normed:
            if self.norm is None:
                raise DiagnosticError("this model has no final norm that could be applied to its residual stream")
            hidden = _called(self.norm, hidden)
        return self.shaped(_called(self.head, hidden).float())

    def shaped(self, raw: Tensor) -> Tensor:
        """What the head gives, scaled or capped."""
        return torch.tanh(raw / self.cap) * self.cap if self.cap else self.scale * raw


def unembedding(
    norm: nn.Module | None, head: nn.Module, raw: Tensor, logits: Tensor, config: Any
) -> Unembedding | None:
    """How the model makes its `logits` out of `raw`, which its head gave; None when neither scale nor cap explains it.

    The caps are those that the configuration names, so that one far above the logits of the self-check is not missed.
    """
    found, eps = kept(logits), torch.finfo(logits.dtype).eps
    if torch.equal(raw, found):
        return Unembedding(norm, head)
    named = config.get_text_config().to_dict().items()
    caps = [float(cap) for name, cap in named if "cap" in name and isinstance(cap, int | float) and cap]
    shapes = [(1.0, cap) for cap in caps] + [(scale, None) for scale in factors(raw, found, config)]
    fitting = [Unembedding(norm, head, *shape) for shape in shapes]
    errors = [float((one.shaped(raw) - found).norm() / found.norm().clamp_min(1e-30)) for one in fitting]
    best = min(range(len(errors)), key=lambda n: max(errors[n], eps))  # of equals, the first
    return fitting[best] if errors[best] < TOLERANCE else None


def _called(module: nn.Module, hidden: Tensor) -> Tensor:
    """What a module gives, past its hooks: whoever watches or edits the pass that is going on must not take this for
    a part of it. Offloading wraps `forward` itself, so it still happens."""
    weight = next(module.parameters(), hidden)
    given = first(module.forward(hidden.to(hidden.device if weight.is_meta else weight.device, weight.dtype)))
    assert given is not None
    return given
