"""Directions in hidden space: fitted as a difference of means, drawn at random as a control, and compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def difference_of_means(x: ArrayLike, y: ArrayLike) -> Floats:
    """Mean of the rows with y = 1 less that of the others, over axis 0; shape x.shape[1:], in float64.

    The direction of Arditi et al. (2024, arXiv:2406.11717, eq. 2). Both classes must have rows.
    """
    rows, positive = np.asarray(x, dtype=np.float64), np.asarray(y).astype(bool)
    return np.asarray(rows[positive].mean(axis=0) - rows[~positive].mean(axis=0))


def split_half_cosine(x: ArrayLike, y: ArrayLike, groups: ArrayLike, seed: int = 0) -> Floats:
    """Cosine of the directions that two random halves of the clusters give, shape x.shape[1:-1]: how far the data fix
    the direction. NaN where a half lacks a class."""
    rows, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    count = int(which.max()) + 1
    half = np.random.default_rng(seed).permutation(count)[which] < count // 2
    if any(not (y[side] == label).any() for side in (half, ~half) for label in (0, 1)):
        return np.full(rows.shape[1:-1], np.nan)
    one, other = (difference_of_means(rows[side], y[side]) for side in (half, ~half))
    return cosine(one, other)


def unit(vector: ArrayLike) -> Floats:
    """The vectors of the last axis at length 1; zero vectors stay zero."""
    given = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(given, axis=-1, keepdims=True)
    return np.asarray(np.divide(given, length, out=np.zeros_like(given), where=length > 0))


def cosine(one: ArrayLike, other: ArrayLike) -> Floats:
    """Cosine along the last axis, in [-1, 1]; 0 where a vector is zero."""
    return np.asarray((unit(one) * unit(other)).sum(axis=-1))


def at_random(like: ArrayLike, count: int, seed: int = 0) -> Floats:
    """`count` directions drawn evenly from the sphere, each as long as `like`: shape (count, width)."""
    given = np.asarray(like, dtype=np.float64)
    drawn = np.random.default_rng(seed).normal(size=(count, given.shape[-1]))
    return unit(drawn) * np.linalg.norm(given)
