"""Scale-free geometry of classes from one ingredient: mean squared distances between rows of *different clusters*.

Write D_ab for that mean over rows i of class a and j of class b. For independent clusters E D_ab = |mu_a - mu_b|^2 +
tr S_a + tr S_b, whatever the number of rows, so that

    gap    = D_hs - (D_hh + D_ss) / 2     estimates |mu_h - mu_s|^2 without bias: 0 on average where there is no gap
    spread = (D_hh + D_ss) / 4            estimates (tr S_h + tr S_s) / 2
    d'     = sqrt(gap / spread)           distance of the means in units of the spread within a class

(for single samples, gap is |m_h - m_s|^2 - tr S_h / n_h - tr S_s / n_s). A harmful prompt and its twin share a cluster
and are never compared, which would count what the pair shares as nearness of the classes. All is invariant to shifts,
rotations and scale of the activations, and every resampled value is a product of weights with the same distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, shuffled_labels
from deepsight_x_boundary.classes import BOUNDARY, HARMFUL, SAFE, Classes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """A quantity for each pair of classes (harmful, safe, boundary): sums, or mean squared distances; one per draw."""

    hh: Floats
    ss: Floats
    hs: Floats
    bs: Floats
    bh: Floats

    def over(self, counts: Pairs) -> Pairs:
        """Means from sums; NaN where a draw has no such pair."""
        return Pairs(*(_ratio(total, count) for total, count in zip(self._values(), counts._values(), strict=True)))

    def _values(self) -> Iterator[Floats]:
        return (getattr(self, field.name) for field in fields(self))

    @property
    def gap(self) -> Floats:
        return self.hs - (self.hh + self.ss) / 2

    @property
    def separation(self) -> Floats:
        """d', with the sign of the gap: negative values are noise around 0. NaN where no class has any spread."""
        size = _ratio(self.gap, (self.hh + self.ss) / 4)
        return np.asarray(np.sign(size) * np.sqrt(np.abs(size)))

    @property
    def boundary(self) -> Floats:
        """Where the boundary centroid falls on the way from the safe (0) to the harmful (1) one. NaN without a gap."""
        return _ratio((self.bs - self.ss) - (self.bh - self.hs), np.where(self.gap > 0, 2 * self.gap, 0))


class Layout:
    """The classes with all that is drawn once and used at every layer: bootstrap weights and shuffled labels."""

    def __init__(self, classes: Classes, permutations: int, resamples: int, seed: int) -> None:
        self.kind, self.groups, self.two = classes.kind, classes.groups, classes.two
        self.apart = (self.groups[:, None] != self.groups).astype(np.float64)
        self.one = np.ones((1, len(self.kind)))
        self.weights = cluster_weights(self.groups, resamples, seed)
        y = (self.kind[self.two] == HARMFUL).astype(np.int64)
        self.labels = shuffled_labels(y, self.groups[self.two], permutations, seed).T.astype(np.float64)
        self._counts_one = self._weighted(self.apart, self.one)
        self._counts = self._weighted(self.apart, self.weights)
        self._counts_null = self._relabelled(self.apart)

    def observed(self, distances: Floats) -> Pairs:
        return self._weighted(distances * self.apart, self.one).over(self._counts_one)

    def resampled(self, distances: Floats) -> Pairs:
        """Under bootstrap draws of whole clusters. Copies of one cluster are one cluster: not compared with each other,
        whose distance of 0 would pass for a gap between the classes."""
        return self._weighted(distances * self.apart, self.weights).over(self._counts)

    def shuffled(self, distances: Floats) -> Pairs:
        """With harmful and safe labels shuffled as the clusters allow; pairs with the boundary class are left NaN."""
        return self._relabelled(distances * self.apart).over(self._counts_null)

    def _weighted(self, m: Floats, weights: Floats) -> Pairs:
        h, s, b = ((self.kind == kind).nonzero()[0] for kind in (HARMFUL, SAFE, BOUNDARY))
        of_h, of_s = weights[:, h] @ m[h], weights[:, s] @ m[s]
        return Pairs(
            hh=_dot(of_h[:, h], weights[:, h]),
            ss=_dot(of_s[:, s], weights[:, s]),
            hs=_dot(of_h[:, s], weights[:, s]),
            bs=_dot(of_s[:, b], weights[:, b]),
            bh=_dot(of_h[:, b], weights[:, b]),
        )

    def _relabelled(self, m: Floats) -> Pairs:
        m = m[np.ix_(self.two, self.two)]
        of_h = self.labels @ m
        hh, hs = _dot(of_h, self.labels), _dot(of_h, 1 - self.labels)
        nothing = np.full_like(hh, np.nan)
        return Pairs(hh=hh, ss=m.sum() - hh - 2 * hs, hs=hs, bs=nothing, bh=nothing)


def squared_distances(x: NDArray[np.floating]) -> Floats:
    """Between all rows of x, shape (rows, rows), in float64."""
    centred = x - x.mean(axis=0, dtype=np.float64)
    return _from_products(centred @ centred.T)


def without(distances: Floats, covariate: Floats) -> Floats:
    """The distances that remain when every activation is regressed on a covariate that varies.

    With P = I - t t' / t't for the centred covariate t, the residuals of centred rows X are P X, and their inner
    products P X X' P: no regression of any single coordinate is carried out.
    """
    t = covariate - covariate.mean()
    t /= np.linalg.norm(t)
    mean = distances.mean(axis=0)
    products = (mean[:, None] + mean - mean.mean() - distances) / 2
    along = products @ t
    products = products - np.outer(t, along) - np.outer(along, t) + (t @ along) * np.outer(t, t)
    return _from_products(products)


def silhouettes(distances: Floats, harmful: NDArray[np.bool_]) -> Floats:
    """Silhouette of each row (Rousseeuw 1987) among two classes, in [-1, 1], from Euclidean distances."""
    lengths = np.sqrt(distances)
    to_h, to_s = lengths[:, harmful].sum(axis=1), lengths[:, ~harmful].sum(axis=1)
    n_h, n_s = int(harmful.sum()), int((~harmful).sum())
    own = np.where(harmful, to_h / (n_h - 1), to_s / (n_s - 1))
    other = np.where(harmful, to_s / n_s, to_h / n_h)
    largest = np.maximum(own, other)
    return np.asarray(np.divide(other - own, largest, out=np.zeros_like(largest), where=largest > 0))


def projections(distances: Floats, classes: Classes) -> Floats:
    """Each row's place on the way from the safe (0) to the harmful (1) centroid, by all clusters but its own.

    With D_xa the mean squared distance of the row to class a: 1/2 + (D_xs - D_xh - (D_ss - D_hh) / 2) / (2 gap). The
    numerator is unbiased even though the centroids are estimates. NaN where the other clusters show no gap.
    """
    apart = (classes.groups[:, None] != classes.groups).astype(np.float64)
    member = (classes.kind[:, None] == np.array([SAFE, HARMFUL])).astype(np.float64)
    sums, counts = _to_others(distances * apart, member, classes.groups), _to_others(apart, member, classes.groups)
    near = _ratio(sums[0], counts[0])
    among = _ratio(sums[1], counts[1])
    ss, hh, hs = among[:, 0, 0], among[:, 1, 1], among[:, 0, 1]
    gap = hs - (ss + hh) / 2
    return 0.5 + _ratio(near[:, 0] - near[:, 1] - (ss - hh) / 2, np.where(gap > 0, 2 * gap, 0))


def _to_others(m: Floats, member: Floats, groups: Ints) -> tuple[Floats, Floats]:
    """Sums of m from each row to each class, (rows, 2), and between the classes without the row's cluster,
    (rows, 2, 2)."""
    rows = m @ member
    own = np.zeros((groups.max() + 1, 2, 2))
    np.add.at(own, groups, member[:, :, None] * rows[:, None, :])
    return rows, (member.T @ rows - own - own.transpose(0, 2, 1))[groups]


def _from_products(products: Floats) -> Floats:
    square = np.diag(products)
    return np.maximum(square[:, None] + square - 2 * products, 0)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    out = np.full(np.shape(numerator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator != 0))
