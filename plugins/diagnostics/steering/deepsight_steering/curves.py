"""What a dose-response curve says: monotonicity, slope at zero, half effect, and where a sample turns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def monotonicity(doses: ArrayLike, responses: ArrayLike) -> Floats:
    """Spearman's rank correlation of dose and response, row by row: shape (rows,), in [-1, 1]; 0 for a flat row.

    `doses` are distinct and ascending, shape (doses,); `responses` has shape (rows, doses).
    """
    values = np.atleast_2d(np.asarray(responses, dtype=np.float64))
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    ranks = below + (values[:, None, :] == values[:, :, None]).sum(axis=2) / 2  # ties share the mean of their ranks
    own = np.arange(len(np.asarray(doses)), dtype=np.float64)
    own -= own.mean()
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = np.sqrt((ranks**2).sum(axis=1) * (own**2).sum())
    return np.asarray(np.divide(ranks @ own, size, out=np.zeros(len(values)), where=size > 0))


def slope_at_zero(doses: ArrayLike, responses: ArrayLike) -> Floats:
    """Central difference between the two doses next to 0, row by row, in units of response by unit of dose."""
    doses, values = np.asarray(doses, dtype=np.float64), np.atleast_2d(np.asarray(responses, dtype=np.float64))
    zero = int(np.flatnonzero(doses == 0)[0])
    return np.asarray((values[:, zero + 1] - values[:, zero - 1]) / (doses[zero + 1] - doses[zero - 1]))


def half_effect(doses: ArrayLike, response: ArrayLike) -> float | None:
    """The smallest positive dose that has half the effect of the largest, interpolated; None where that has none."""
    doses, values = np.asarray(doses, dtype=np.float64), np.asarray(response, dtype=np.float64)
    zero = int(np.flatnonzero(doses == 0)[0])
    change = values[-1] - values[zero]
    if change == 0:
        return None
    return crossing(doses[zero:], values[zero:], values[zero] + change / 2)


def crossing(doses: ArrayLike, response: ArrayLike, level: float) -> float | None:
    """The dose, walking from the first, at which the response first reaches a level that it begins short of or above,
    interpolated; None where it never does."""
    doses, side = np.asarray(doses, dtype=np.float64), np.asarray(response, dtype=np.float64) - level
    if side[0] == 0:
        return float(doses[0])
    beyond = np.flatnonzero(side * np.sign(side[0]) <= 0)
    if not len(beyond):
        return None
    place = int(beyond[0])
    before, after = side[place - 1], side[place]
    share = before / (before - after)
    return float(doses[place - 1] + share * (doses[place] - doses[place - 1]))


def repeated(tokens: ArrayLike, size: int = 3) -> float:
    """Share of a text's n-grams that were there before, in [0, 1); 0 for a text that is too short for two."""
    values = [int(token) for token in np.asarray(tokens).ravel()]
    grams = [tuple(values[start : start + size]) for start in range(len(values) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
