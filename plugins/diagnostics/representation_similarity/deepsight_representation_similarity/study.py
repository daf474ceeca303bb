"""Similarities with their standard errors: every number is computed again without each part of the clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_representation_similarity.cka import Floats, paired

Ints = NDArray[np.int64]
PARTS = 20
"""Parts of the clusters that the jackknife leaves out in turn."""
NORMAL = 1.96


@dataclass(frozen=True, eq=False)
class Estimate:
    """Of each layer; all arrays of shape (layers,)."""

    value: Floats
    error: Floats
    null: Floats | None = None
    """(layers, draws), where there is a null."""

    @property
    def low(self) -> Floats:
        return self.value - NORMAL * self.error

    @property
    def high(self) -> Floats:
        """CKA and overlaps are at most 1."""
        return np.minimum(self.value + NORMAL * self.error, 1.0)


class Jackknife:
    """Leaves out parts of the clusters in turn (Efron and Stein 1981). A bootstrap draws rows twice, which a Gram
    matrix takes for structure."""

    def __init__(self, groups: Ints, seed: int) -> None:
        count = int(groups.max()) + 1
        part = np.random.default_rng(seed).permutation(count) % min(PARTS, count)
        self.kept = [np.flatnonzero(part[groups] != number) for number in range(min(PARTS, count))]

    def error(self, statistic: Callable[[Ints], Floats]) -> Floats:
        """Standard error of what the statistic gives for row numbers."""
        values = np.stack([statistic(rows) for rows in self.kept])
        count = len(values)
        return np.asarray(np.sqrt((count - 1) / count * ((values - values.mean(axis=0)) ** 2).sum(axis=0)))


def of(products: Floats, rows: Ints) -> Floats:
    """Gram matrices of some of the rows; HSIC centres them itself."""
    return products[:, rows[:, None], rows]


def along(one: Floats, other: Floats, jackknife: Jackknife, null: Floats | None = None) -> Estimate:
    """CKA of each layer with its counterpart."""
    error = jackknife.error(lambda rows: paired(of(one, rows), of(other, rows)))
    return Estimate(paired(one, other), error, null)
