"""How well held-out scores rank: AUROC within folds, for many label vectors or bootstrap draws at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepsight_core.statistics import Interval, percentile_interval, wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def auroc_within(scores: Floats, y: Ints, fold: Ints) -> Floats:
    """Probability that a positive outranks a negative *of the same fold*, ties counting half; one value per column.

    Scores of different folds come from different models. To pool them would compare what is not comparable: a probe
    that has learnt nothing scores each fold at its training base rate, which is lowest where positives are held out,
    and pooled AUROC falls below 1/2. Within folds it is exactly 1/2.

    `scores` and `y` have shape (rows, columns). NaN where no fold holds both classes.
    """
    wins = np.zeros(scores.shape[1])
    pairs = np.zeros(scores.shape[1])
    for number in np.unique(fold):
        rows = fold == number
        labels = y[rows]
        positives = labels.sum(axis=0)
        wins += (_ranks(scores[rows]) * labels).sum(axis=0) - positives * (positives + 1) / 2
        pairs += positives * (len(labels) - positives)
    return np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)


def bootstrap_auroc(scores: Floats, y: Ints, fold: Ints, weights: Floats) -> Floats:
    """The same statistic of one score vector under bootstrap weights of shape (draws, rows); one value per draw.

    The probes are not refitted: the draws show the uncertainty of the test samples, given the probes.
    """
    wins = np.zeros(len(weights))
    pairs = np.zeros(len(weights))
    for number in np.unique(fold):
        up = np.flatnonzero((fold == number) & (y == 1))
        down = np.flatnonzero((fold == number) & (y == 0))
        above = (np.sign(scores[up][:, None] - scores[down]) + 1) / 2
        wins += ((weights[:, up] @ above) * weights[:, down]).sum(axis=1)
        pairs += weights[:, up].sum(axis=1) * weights[:, down].sum(axis=1)
    return np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs > 0)


def interval(value: float, draws: Floats, clusters: int) -> Interval:
    """95 % percentile interval; where no draw varies (a perfect score), Wilson's for that many independent units."""
    low, high = percentile_interval(draws)
    if low == high and value in (0.0, 1.0):
        return wilson(value * clusters, clusters)
    return low, high


def _ranks(scores: Floats) -> Floats:
    """Ranks from 1 within each column, tied scores sharing their mean rank."""
    order = np.argsort(scores, axis=0)
    ordered = np.take_along_axis(scores, order, axis=0)
    place = np.arange(len(scores))[:, None]
    starts = np.ones(scores.shape, dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    ends = np.ones(scores.shape, dtype=bool)
    ends[:-1] = starts[1:]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=0)
    last = np.minimum.accumulate(np.where(ends, place, len(scores))[::-1], axis=0)[::-1]
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    return ranks
