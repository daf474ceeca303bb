"""Whether probabilities are what they say: the share of positives among samples of like probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def calibration_error(probability: Floats, y: Ints, bins: int = 10) -> Floats:
    """Expected calibration error over equal bins of [0, 1] (Naeini et al. 2015), for each column of labels."""
    which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    member = which[:, None] == np.arange(bins)
    excess = member.T.astype(np.float64) @ (probability[:, None] - y)
    return np.asarray(np.abs(excess).sum(axis=0) / len(probability))


def truthful_errors(probability: Floats, draws: int, seed: int = 0, bins: int = 10) -> Floats:
    """The calibration errors that the same probabilities show when they are true, shape (draws,): the error is above 0
    even then, and the more so the fewer samples there are."""
    outcomes = np.random.default_rng(seed).random((len(probability), draws)) < probability[:, None]
    return calibration_error(probability, outcomes.astype(np.int64), bins)
