"""What a decoder's states do not depend on: padding to the right, and how a text is split over passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepsight_torch.forward import decode, prefix_cache, repeated
from deepsight_torch.taps import Tap
from deepsight_torch.trace import kept

DRIFT = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Relative difference from which a result counts as changed; 0.1 for 16-bit types."""


class Invariance:
    """Compares what leaves the last block with what leaves it when a text is read in the plainest way."""

    def __init__(self, model: Any, decoder: Any, last: nn.Module, probe: Tensor, expected: Tensor) -> None:
        """`expected`: what leaves the `last` block when the model reads `probe`, (1, tokens)."""
        self.model, self.decoder, self.last = model, decoder, last
        self.probe, self.expected = probe, expected

    def holds(self) -> bool:
        """Whether reading the same again, as the model now is, gives the same."""
        return self._same(self.expected, self._states(self.probe))

    def under_padding(self) -> bool:
        """Whether tokens to the right, unmasked, leave what stands to their left as it is."""
        padded = torch.cat([self.probe, self.probe[:, :1].expand(-1, 3)], dim=1)
        return self._same(self.expected, self._states(padded)[:, : self.probe.shape[1]])

    def under_splitting(self) -> bool:
        """Whether a beginning that is read once, and then what follows in a batch, give the same."""
        start = self.probe.shape[1] // 2
        cache = prefix_cache(self.model.config)
        try:
            decode(self.decoder, self.probe[:, :start], cache=cache)
            rest = self._states(self.probe[:, start:].repeat(2, 1), repeated(cache, 2))
        except Exception:  # a cache of some family that cannot be repeated: then every text is read whole
            return False
        return self._same(self.expected[:, start:].expand(2, -1, -1), rest)

    def _states(self, ids: Tensor, cache: Any = None) -> Tensor:
        seen: list[Tensor] = []
        handle = Tap(self.last, "out", 0).register(lambda tensor: seen.append(kept(tensor)))
        try:
            decode(self.decoder, ids, cache=cache)
        finally:
            handle.remove()
        return seen[0]

    def _same(self, expected: Tensor, found: Tensor) -> bool:
        return float((found - expected).norm() / expected.norm()) <= DRIFT.get(self.model.dtype, 0.1)
