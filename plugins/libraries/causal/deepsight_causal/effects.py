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
