"""Which of several probes to take, chosen inside the cross-validation, and features of several kinds in one probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_probing.ridge import Fit, Kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """Held-out results of probes of which one was chosen for each fold, and anew for each column of labels."""

    scores: Floats
    """(rows, columns)"""
    probability: Floats
    """(rows,): held out from the choice, the training and the calibration; observed labels."""
    places: tuple[int, ...]
    """Number of the chosen probe, by row; observed labels."""

    @property
    def usual(self) -> int:
        """The probe that most rows were scored by; the earlier one of equals."""
        return int(np.argmax(np.bincount(self.places)))


def select(fits: Sequence[Fit], fold: Ints) -> Selected:
    """In each fold, take the probe with the smallest inner cross-validation error, which knows nothing of the test.

    The best of many looks better than it is. This choice is made anew in each fold and, to know what it yields by
    luck, for each permutation. Folds are numbered as `ridge` took them, in ascending order from 0; of equal errors the
    earlier probe's counts.
    """
    error = np.stack([fit.error for fit in fits])
    best = np.argmin(error, axis=0)[fold]
    row, column = np.arange(best.shape[0]), np.arange(best.shape[1])
    scores = np.stack([fit.scores for fit in fits])[best, row[:, None], column]
    probability = np.stack([fit.probability for fit in fits])[best[:, 0], row]
    return Selected(scores, probability, tuple(int(place) for place in best[:, 0]))


def side_by_side(parts: Sequence[tuple[Kernel, float]]) -> Kernel:
    """Features of several kinds next to each other, each kind with its share of the variance over the training rows.

    Otherwise kinds with many features would drown those with few. A share of 0 leaves a kind out without computing it.
    """

    def kernel(train: Ints) -> Floats:
        sums = []
        for part, share in parts:
            if share > 0:
                products = part(train)
                variance = float(products[train, train].mean())
                sums.append(products * (share / variance) if variance > 0 else np.zeros_like(products))
        return np.asarray(sum(sums))

    return kernel
