"""How far the weights that matter most to two cohorts are the same: counts, coefficient, uncertainty and null.

Everything is read from `Importance`: |W| * sum of |gradient| of the entries kept, by cohort and block of examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from deepsight_core.statistics import Interval
from deepsight_core.weights import Importance

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def top(scores: NDArray[np.floating], count: int) -> Bools:
    """Marks the `count` largest scores; what scores nothing is never among them."""
    chosen = np.zeros(scores.size, dtype=np.bool_)
    if count:
        best = np.argpartition(-scores, count - 1)[:count] if count < scores.size else np.arange(scores.size)
        chosen[best] = scores[best] > 0
    return chosen


@dataclass(frozen=True)
class Overlap:
    """By matrix: how many weights are among the top of the first cohort, of the second, and of both."""

    first: Ints
    second: Ints
    coupled: Ints
    sizes: Ints

    @property
    def expected(self) -> Floats:
        """Coupled weights if each cohort's were drawn blindly (the mean of the hypergeometric distribution)."""
        return self.first * self.second / self.sizes.astype(np.float64)

    def of(self, rows: Bools | slice) -> Overlap:
        """The same of some of the matrices."""
        return Overlap(self.first[rows], self.second[rows], self.coupled[rows], self.sizes[rows])

    @property
    def coefficient(self) -> float | None:
        """The overlap coefficient |A ∩ B| / min(|A|, |B|), summed over matrices before dividing; in [0, 1], None where
        one of them is empty everywhere."""
        possible = int(np.minimum(self.first, self.second).sum())
        return int(self.coupled.sum()) / possible if possible else None

    @property
    def ratio(self) -> float | None:
        """Coupled weights by all weights, as published; None where no weight was selected at all."""
        if not (self.first.any() or self.second.any()):
            return None
        return int(self.coupled.sum()) / int(self.sizes.sum())

    @property
    def lift(self) -> float | None:
        """Coupled weights by those expected blindly."""
        expected = float(self.expected.sum())
        return int(self.coupled.sum()) / expected if expected else None


@dataclass(frozen=True)
class Tops:
    """By matrix, which of the kept entries are among the top of two cohorts."""

    first: tuple[Bools, ...]
    second: tuple[Bools, ...]
    sizes: Ints

    @property
    def coupled(self) -> tuple[Bools, ...]:
        return tuple(a & b for a, b in zip(self.first, self.second, strict=True))

    @property
    def overlap(self) -> Overlap:
        first, second, coupled = (
            np.array([int(mask.sum()) for mask in masks], dtype=np.int64)
            for masks in (self.first, self.second, self.coupled)
        )
        return Overlap(first, second, coupled, self.sizes)


class Scores:
    """The scores of an importance, ready to be cut at any share up to its depth."""

    def __init__(self, importance: Importance) -> None:
        self.importance = importance
        self.sizes = np.array([matrix.size for matrix in importance.matrices], dtype=np.int64)
        self.layers = np.array([matrix.layer for matrix in importance.matrices], dtype=np.int64)
        self.blocks = importance.scores[0].shape[1] if importance.scores else 0
        self._totals: dict[str, list[NDArray[np.float32]]] = {}

    def totals(self, cohort: str) -> list[NDArray[np.float32]]:
        """By matrix: a cohort's scores of the kept entries."""
        if cohort not in self._totals:
            number = self.importance.cohorts.index(cohort)
            self._totals[cohort] = [scores[number].sum(axis=0) for scores in self.importance.scores]
        return self._totals[cohort]

    def cut(self, totals: Sequence[NDArray[np.floating]], share: float) -> tuple[Bools, ...]:
        """By matrix: the top floor(share * size) of the entries."""
        counts = [int(share * int(size)) for size in self.sizes]
        return tuple(top(scores, count) for scores, count in zip(totals, counts, strict=True))

    def tops(self, first: str, second: str, share: float) -> Tops:
        return Tops(self.cut(self.totals(first), share), self.cut(self.totals(second), share), self.sizes)

    def regrouped(self, first: str, second: str, one: Ints, other: Ints, share: float) -> Overlap:
        """The overlap if the blocks of both cohorts, numbered on from those of the first, were dealt anew."""
        numbers = [self.importance.cohorts.index(cohort) for cohort in (first, second)]
        pooled = [scores[numbers].reshape(2 * self.blocks, -1) for scores in self.importance.scores]
        a, b = (self.cut([scores[blocks].sum(axis=0) for scores in pooled], share) for blocks in (one, other))
        return Tops(a, b, self.sizes).overlap


def left_out(scores: Scores, first: str, second: str, share: float) -> tuple[list[Overlap], list[Overlap]]:
    """The overlap without each block of the first cohort in turn, and without each of the second."""
    own, others = np.arange(scores.blocks), np.arange(scores.blocks, 2 * scores.blocks)
    return (
        [scores.regrouped(first, second, np.delete(own, n), others, share) for n in own],
        [scores.regrouped(first, second, own, np.delete(others, n), share) for n in own],
    )


def exchanged(scores: Scores, first: str, second: str, share: float, draws: int, seed: int) -> Iterator[Overlap]:
    """The overlap of halves of the pooled blocks: what it would be if both cohorts were of one kind. As many different
    halves as asked for, or as there are, without the halves that were observed."""
    blocks = scores.blocks
    rng = np.random.default_rng(seed)
    seen = {frozenset(range(blocks))}
    while len(seen) <= min(draws, partitions(blocks) - 1):
        one, other = np.split(rng.permutation(2 * blocks), 2)
        half = frozenset(one.tolist()) if 0 in one else frozenset(other.tolist())
        if half not in seen:
            seen.add(half)
            yield scores.regrouped(first, second, one, other, share)


def partitions(blocks: int) -> int:
    """How many ways there are to halve twice as many blocks: no p value can be smaller than one by this."""
    return comb(2 * blocks, blocks) // 2


def jackknife(value: float, without: Sequence[Sequence[float]]) -> Interval | None:
    """95 % interval of a statistic of several independent cohorts from its values without each block of each.

    Variances of the delete-one jackknife (Efron and Stein 1981) add up; the quantile is Student's with one degree less
    than there are blocks in a cohort. None for fewer than three blocks.
    """
    blocks = min(map(len, without))
    if blocks < 3:
        return None
    variance = sum((len(v) - 1) / len(v) * float(np.square(np.asarray(v) - np.mean(v)).sum()) for v in without)
    half = student(blocks - 1) * sqrt(variance)
    return value - half, value + half


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution, to 1 % from 3 degrees of freedom on (Cornish-Fisher expansion:
    Abramowitz and Stegun 26.7.5)."""
    z, n = NormalDist().inv_cdf(0.975), freedom
    return float(
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
