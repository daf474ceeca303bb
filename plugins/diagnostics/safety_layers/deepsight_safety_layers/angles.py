"""How two classes lie at each layer: mean angles of pairs, the part of them that spread does not explain, and the
energy coefficient, each with an interval and a null."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepsight_causal import unit
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, familywise_p, shuffled_labels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layered:
    """A quantity at each layer, all arrays of shape (layers,)."""

    value: Floats
    low: Floats
    high: Floats
    """95 % percentiles over bootstrap draws of whole clusters."""
    null_low: Floats
    null_high: Floats
    """Where 95 % of the values lie under shuffled labels, layer by layer."""
    p: Floats
    """One-sided, corrected for all layers: values in standard deviations of their layer's null, the largest over the
    layers."""


@dataclass(frozen=True)
class Angles:
    """Mean angles of pairs in degrees, (layers,), and what they come to."""

    harmless: Floats
    """Of two harmless samples (N-N)."""
    harmful: Floats
    """Of two harmful ones (M-M)."""
    between: Floats
    """Of one of each (N-M)."""
    published: Layered
    """N-M less N-N (Li et al. 2024, arXiv:2408.17003). It is also moved by how diverse either class is."""
    corrected: Layered
    """N-M less the mean of N-N and M-M: 0 where the classes are alike but for their labels."""
    energy: Layered
    """1 - (mean distance within) / (mean distance between), of Euclidean distances (Székely and Rizzo 2013, eq. 6.3,
    without pairs of one cluster): at most 1, 0 on average where there is no difference."""


class Pairs:
    """All pairs of rows of different clusters, under bootstrap weights and shuffled labels that all layers share.

    A sample and its twin, or a sample drawn twice, are never compared: that would count what they share as nearness.
    """

    def __init__(self, y: Ints, groups: Ints, permutations: int, resamples: int, seed: int) -> None:
        self.apart = (groups[:, None] != groups).astype(np.float64)
        positive = y.astype(np.float64)
        shuffled = shuffled_labels(y, groups, permutations, seed).T.astype(np.float64)
        weights = cluster_weights(groups, resamples, seed)
        rows = len(positive)
        self.parts = {
            "observed": slice(0, 1),
            "null": slice(1, 1 + permutations),
            "drawn": slice(1 + permutations, None),
        }
        self.positive = np.vstack([positive, shuffled, weights * positive])
        self.negative = np.vstack([1 - positive, 1 - shuffled, weights * (1 - positive)])
        assert self.positive.shape == (1 + permutations + resamples, rows)
        self._counts = self._sums(self.apart)

    def means(self, of_pairs: Floats) -> Floats:
        """Mean over the pairs of two negative, two positive, and one of each: (3, draws). NaN without such a pair."""
        sums = self._sums(of_pairs * self.apart)
        return np.divide(sums, self._counts, out=np.full_like(sums, np.nan), where=self._counts > 0)

    def _sums(self, of_pairs: Floats) -> Floats:
        one, other = self.positive @ of_pairs, self.negative @ of_pairs
        return np.stack([(other * self.negative).sum(1), (one * self.positive).sum(1), (one * self.negative).sum(1)])

    def layered(self, values: Floats) -> Layered:
        """From values of shape (layers, draws)."""
        observed, null, drawn = (values[:, part] for part in self.parts.values())
        spread = null.std(axis=1, keepdims=True)
        size = np.where(spread > 1e-12, spread, np.inf)
        centre = null.mean(axis=1, keepdims=True)
        null_low, null_high = np.quantile(null, [0.025, 0.975], axis=1)
        low, high = np.nanquantile(drawn, [0.025, 0.975], axis=1)
        p = familywise_p(((observed - centre) / size)[:, 0], (null - centre) / size)
        return Layered(observed[:, 0], low, high, null_low, null_high, p)


def angles(states: NDArray[np.floating], pairs: Pairs) -> Angles:
    """`states` are (samples, layers, width)."""
    measured = [_at(states[:, column], pairs) for column in range(states.shape[1])]
    degrees = np.stack([one for one, _ in measured])
    apart = np.stack([other for _, other in measured])
    harmless, harmful, between = (degrees[:, kind] for kind in range(3))
    return Angles(
        harmless[:, 0],
        harmful[:, 0],
        between[:, 0],
        pairs.layered(between - harmless),
        pairs.layered(between - (harmless + harmful) / 2),
        pairs.layered(1 - (apart[:, 0] + apart[:, 1]) / (2 * apart[:, 2])),
    )


def _at(rows: NDArray[np.floating], pairs: Pairs) -> tuple[Floats, Floats]:
    """Angles of the mean cosines, and mean distances: each (3, draws)."""
    directions = unit(rows)
    cosines = pairs.means(directions @ directions.T)
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    products = centred @ centred.T
    square = np.diag(products)
    distances = np.sqrt(np.maximum(square[:, None] + square - 2 * products, 0))
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))), pairs.means(distances)
