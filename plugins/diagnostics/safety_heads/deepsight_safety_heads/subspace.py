"""How far silencing turns the leading subspace of the last states of a set of prompts (Sahara, Zhou et al. 2024)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def turned(before: ArrayLike, after: ArrayLike, rank: int) -> tuple[float, float]:
    """Largest principal angle in degrees, 0 to 90, between the leading `rank` singular subspaces of two matrices of
    shape (prompts, width): of the right vectors, which lie in hidden space, and of the left ones, as published.

    The left vectors have a coordinate a prompt: they say which prompts carry the leading directions, not what these
    are, and turn when only the lengths of the states change.
    """
    one, other = (np.linalg.svd(np.asarray(x, dtype=np.float64), full_matrices=False) for x in (before, after))
    rank = min(rank, len(one[1]))
    return angle(one[2][:rank], other[2][:rank]), angle(one[0][:, :rank].T, other[0][:, :rank].T)


def angle(one: Floats, other: Floats) -> float:
    """The largest principal angle, in degrees, between the spans of the rows of two matrices with orthonormal rows."""
    smallest = np.linalg.svd(one @ other.T, compute_uv=False).min()
    beyond = np.linalg.norm(other - other @ one.T @ one, ord=2)  # the sine, exact where the cosine is not
    return float(np.degrees(np.arctan2(beyond, smallest)))
