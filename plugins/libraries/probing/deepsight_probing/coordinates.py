"""Where samples lie along the difference of two class means: cross-fitted, in units that layers and models share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_probing.ridge import Split

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Axes:
    """Per layer, an axis from class 0 to class 1 for each fold, fitted without the fold's rows."""

    vectors: Floats
    """(folds, layers, width): mean of class 1 less mean of class 0 over the fold's training rows."""
    values: Floats
    """(rows, layers): each row's place on the axis of its fold, in `spreads`; 0 is halfway between the means. The
    centres of the classes lie about d' apart."""
    spreads: Floats
    """(layers,): standard deviation of held-out places within a class, pooled, in units of the activations."""


def axes(x: NDArray[np.floating], y: Ints, parts: Sequence[Split]) -> Axes:
    """Fit and place activations of shape (rows, layers, width).

    The classes of rows that no part trains on do not matter. Every part must train on both classes. A layer at which
    nothing varies has the value 0 throughout.
    """
    vectors, values = [], np.zeros(x.shape[:2])
    for part in parts:
        one, other = (x[part.train[y[part.train] == label]].mean(axis=0, dtype=np.float64) for label in (1, 0))
        vector = one - other
        length = np.linalg.norm(vector, axis=-1, keepdims=True)
        unit = np.divide(vector, length, out=np.zeros_like(vector), where=length > 0)
        values[part.test] = np.einsum("nlw,lw->nl", x[part.test] - (one + other) / 2, unit)
        vectors.append(vector)
    trained = np.unique(np.concatenate([part.train for part in parts]))
    within = [values[trained[y[trained] == label]].var(axis=0) for label in (0, 1)]
    spreads = np.sqrt(np.mean(within, axis=0))
    values = np.divide(values, spreads, out=np.zeros_like(values), where=spreads > 0)
    return Axes(np.stack(vectors), values, spreads)
