"""The published quantities: distances between class centroids in the units of the residual stream.

Rule for rule as the reference system computes them, float32 included, so that numbers compare with those published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_x_boundary.classes import BOUNDARY, HARMFUL, SAFE

TOKENS = 1024
"""The reference cuts every text to this many tokens."""
NEGLIGIBLE = 1e-9
"""Distance from boundary to harmful below which the reference calls the ratio infinite."""


@dataclass(frozen=True)
class Published:
    """Distances in the units of the activations; those to the boundary class are None where there is none."""

    separation: float
    bound_safe: float | None = None
    bound_harmful: float | None = None

    @property
    def ratio(self) -> float | None:
        """bound_safe / bound_harmful; None where it is infinite, which JSON cannot hold, or there is no boundary."""
        if self.bound_safe is None or self.bound_harmful is None or self.bound_harmful < NEGLIGIBLE:
            return None
        return self.bound_safe / self.bound_harmful


def published(x: NDArray[np.float32], kind: NDArray[np.int64]) -> Published:
    """Distances between the centroids of one layer; x has shape (rows, width)."""
    safe, harmful = x[kind == SAFE].mean(axis=0), x[kind == HARMFUL].mean(axis=0)
    separation = float(np.linalg.norm(safe - harmful))
    if not (kind == BOUNDARY).any():
        return Published(separation)
    boundary = x[kind == BOUNDARY].mean(axis=0)
    return Published(separation, float(np.linalg.norm(boundary - safe)), float(np.linalg.norm(boundary - harmful)))


def indices(layers: int) -> tuple[int, ...]:
    """The reference's two layers, as indices into `hidden_states`: i is the output of block i - 1, 0 the embedding."""
    return tuple(dict.fromkeys((layers // 3, 2 * layers // 3)))
