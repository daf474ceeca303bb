"""The shape of a cloud of rows: the subspace in which it varies most, and how many dimensions it has locally."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DISCARDED = 0.1
"""The share of the largest ratios of distances that TwoNN leaves out (Facco et al. 2017)."""
FEWEST = 10
"""Rows without which nothing is estimated."""


def principal(x: ArrayLike, k: int) -> Floats:
    """Orthonormal axes of the k first principal components, (width, k); fewer where the rows span fewer."""
    rows = np.asarray(x, dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    order = np.argsort(values)[::-1][:k]
    order = order[values[order] > 1e-10 * max(values.max(), 1e-300)]
    return np.asarray(rows.T @ vectors[:, order] / np.sqrt(values[order]))


def overlap(one: Floats, other: Floats) -> float:
    """Mean squared cosine of the principal angles of two subspaces with orthonormal axes (width, k): 1 for the same,
    k / width on average for subspaces at random."""
    k = min(one.shape[1], other.shape[1])
    return float(((one.T @ other) ** 2).sum() / k) if k else 0.0


def two_nn(x: ArrayLike, groups: ArrayLike) -> tuple[float | None, float | None, int]:
    """Intrinsic dimension by the ratio of the distances to the second and the first neighbour (TwoNN, Facco et al.
    2017, Scientific Reports 7:12140), its standard error, and the rows that it rests on.

    Of each cluster the first row counts, and rows that repeat another one are left out: neighbours that are near for
    another reason than the shape of the cloud would pass for other dimensions. The largest tenth of the ratios is
    censored, and the estimate is the maximum likelihood under that censoring. None with fewer than ten rows.
    """
    first = np.unique(np.asarray(groups), return_index=True)[1]
    rows = np.unique(np.asarray(x, dtype=np.float64)[np.sort(first)], axis=0)
    if len(rows) < FEWEST:
        return None, None, len(rows)
    square = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(square[:, None] + square - 2 * rows @ rows.T, 0))
    np.fill_diagonal(distances, np.inf)
    near = np.sort(distances, axis=1)[:, :2]
    usable = near[:, 0] > 0
    if usable.sum() < FEWEST:
        return None, None, int(usable.sum())
    logs = np.sort(np.log(near[usable, 1] / near[usable, 0]))
    kept = int(np.ceil(len(logs) * (1 - DISCARDED)))
    total = float(logs[:kept].sum() + (len(logs) - kept) * logs[kept - 1])
    if total <= 0:
        return None, None, len(logs)
    return kept / total, kept / total / float(np.sqrt(kept)), len(logs)
