"""What an edit changes on average, paired by sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deepsight_core.statistics import cluster_means, percentile_interval, sign_flip


@dataclass(frozen=True)
class Effect:
    """A mean difference with its interval."""

    value: float
    low: float
    high: float
    """95 % bootstrap interval over clusters."""
    p: float
    """Two-sided, by sign flips over clusters."""
    count: int


def effect(before: ArrayLike, after: ArrayLike, clusters: ArrayLike, resamples: int = 1000, seed: int = 0) -> Effect:
    """Mean of after - before, row by row. Needs at least one row and finite values."""
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    low, high = percentile_interval(cluster_means(difference, clusters, resamples, seed))
    return Effect(float(difference.mean()), low, high, sign_flip(difference, clusters, seed), len(difference))


def beyond_random(observed: float, null: ArrayLike) -> float:
    """One-sided p that one more random direction has at least the observed effect: Student's prediction of the next
    draw from a normal sample.

    In many dimensions what a random direction does to first order is close to normal, since it is a projection. So a
    few of them tell more than their ranks, which cannot give a p below one by their number. Needs at least two.
    """
    draws = np.asarray(null, dtype=np.float64)
    spread = draws.std(ddof=1) * np.sqrt(1 + 1 / draws.size)
    if spread == 0:
        return float(observed <= draws[0])
    return _student_tail(float((observed - draws.mean()) / spread), draws.size - 1)


def _student_tail(t: float, freedom: int) -> float:
    """P(T >= t) of Student's distribution: with t = sqrt(n) tan a, its density in a goes as cos(a) ** (n - 1)."""
    from_t = np.linspace(np.arctan(t / np.sqrt(freedom)), np.pi / 2, 20_001)
    whole = np.linspace(-np.pi / 2, np.pi / 2, 20_001)
    tail, total = (np.trapezoid(np.clip(np.cos(a), 0, None) ** (freedom - 1), a) for a in (from_t, whole))
    return float(tail / total)
