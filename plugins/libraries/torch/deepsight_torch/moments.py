"""Count, mean and variance of the texts of each class, one text at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from deepsight_core.inside import Array, Floats, Moments
from deepsight_core.protocol import Label


class Accumulator:
    """Moments of arrays of one shape, by label, in float64 (West 1979, doi:10.1145/359146.359153: a running mean and
    sum of squared deviations that do not cancel). Memory: two arrays a class."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._counts: dict[str, int] = {}
        self._means: dict[str, Floats] = {}
        self._squares: dict[str, Floats] = {}

    def add(self, array: Array, labels: Iterable[Label | None]) -> None:
        """Count an array once for each label, None for a text that is in no class."""
        known = [str(label) for label in labels if label is not None]
        for name in dict.fromkeys(known):
            self._add(name, array, known.count(name))

    def _add(self, name: str, array: Array, times: int) -> None:
        if name not in self._counts:
            self._counts[name] = 0
            self._means[name] = np.zeros(self.shape)
            self._squares[name] = np.zeros(self.shape)
        self._counts[name] += times
        off = array - self._means[name]
        self._means[name] += off * (times / self._counts[name])
        off *= array - self._means[name]
        self._squares[name] += off if times == 1 else times * off

    def moments(self) -> Moments:
        """Classes in the order of their names."""
        names = tuple(sorted(self._counts))
        counts = np.array([self._counts[name] for name in names], dtype=np.int64)
        means = np.array([self._means[name] for name in names]).reshape(len(names), *self.shape)
        variances = np.array([self._squares[name] / self._counts[name] for name in names]).reshape(means.shape)
        return Moments(names, counts, means, variances)
