"""Differences between two cohorts in many numbers at once, with intervals and a null that is corrected for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.crossfit import cluster_weights, familywise_p, shuffled_labels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaps:
    """Of each column: the mean of the rows with y = 1 less that of the others."""

    value: Floats
    low: Floats
    high: Floats
    """95 % percentiles over bootstrap draws of whole clusters."""
    null_low: Floats
    null_high: Floats
    """Where 95 % of the gaps lie under shuffled labels, column by column."""
    p: Floats
    """Two-sided, corrected for all columns: gaps in standard deviations, the largest over the columns."""
    draws: Floats
    """(draws, columns): the gaps under the bootstrap weights; NaN where a draw lacks a class."""
    count: int


def gaps(
    values: ArrayLike, y: ArrayLike, groups: ArrayLike, *, permutations: int, resamples: int, seed: int = 0
) -> Gaps:
    """`values` are (rows, columns) or (rows,); both classes must have rows.

    Labels are shuffled inside clusters that hold both, and between clusters of one label as wholes. Columns are made
    comparable by their standard deviation over all rows, which no shuffling changes.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    labels = np.column_stack([y, shuffled_labels(y, groups, permutations, seed)]).astype(np.float64)
    observed, *shuffled = _differences(x, labels.T)
    null = np.array(shuffled)
    spread = x.std(axis=0)
    unit = np.where(spread > 1e-12, spread, np.inf)  # a column that never moves reaches nothing
    weights = cluster_weights(groups, resamples, seed)
    positive = np.asarray(y, dtype=np.float64)
    draws = _differences(x, weights * positive, weights * (1 - positive))
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    null_low, null_high = np.quantile(null, [0.025, 0.975], axis=0)
    p = familywise_p(np.abs(observed / unit), np.abs(null / unit).T)
    return Gaps(observed, low, high, null_low, null_high, p, draws, len(x))


def _differences(x: Floats, one: Floats, other: Floats | None = None) -> Floats:
    """(draws, columns): weighted mean under `one` less that under `other`, each (draws, rows)."""
    other = 1 - one if other is None else other
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = ((side @ x) / side.sum(axis=1, keepdims=True) for side in (one, other))
    return np.asarray(first - second)
