"""Scale-free measures of how far classes lie apart, from inner products of rows alone.

Both are 0 on average where the class says nothing, at any width and any number of rows, and change neither when
activations are scaled nor when they are rotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deepsight_tellme.classes import Ints
from deepsight_tellme.spectra import Floats, log_determinant

NOISE = 0.1
"""The distortion of the coding rates, as a share of the total variance."""


def centred_products(x: NDArray[np.floating]) -> Floats:
    """Inner products of the rows about their common mean, shape (rows, rows), in float64."""
    rows = np.asarray(x, dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    return np.asarray(rows @ rows.T)


def rate_reduction(products: Floats, kind: Ints) -> float:
    """Coding rate of all rows less the mean rate within classes, as a share of the most it could be; in [0, 1].

    After MCR² (Yu et al. 2020, arXiv:2006.08558), with covariances about the class means in place of second moments and
    with the total variance as the unit, so that neither the scale of the activations nor their width enters:
    1/2 log det(I + S / (e tr S)) - sum_j n_j / 2n log det(I + S_j / (e tr S)), e = 0.1. The most is that of classes
    without spread. It is never negative, also where classes do not differ: compare it with that of shuffled classes.
    NaN where all rows are the same.
    """
    trace = np.trace(products) / len(products)
    if trace <= 0:
        return float("nan")
    total = _rate(products, trace)
    within = sum(
        (kind == label).mean() * _rate(recentred(products[np.ix_(kind == label, kind == label)]), trace)
        for label in np.unique(kind)
    )
    return float((total - within) / _most(len(np.unique(kind))))


def energy(distances: Floats, kind: Ints, groups: Ints) -> float:
    """Energy coefficient (Székely and Rizzo 2013, eq. 6.3): 1 - (mean distance within) / (mean distance between).

    Within is the mean over the two classes; of several classes, every pair of classes counts alike. Pairs of rows of
    one cluster are left out, so that it is 0 on average where the classes are alike, and may be negative.
    """
    return float(energies(distances, _indicators(kind, int(kind.max()) + 1)[None], groups)[0])


def energies(distances: Floats, members: Floats, groups: Ints) -> Floats:
    """The energy coefficient under several labellings: members has shape (labellings, classes, rows)."""
    apart = (groups[:, None] != groups).astype(np.float64)
    sums = _between(members, distances * apart)
    means = sums / _between(members, apart)
    pairs = combinations(range(members.shape[1]), 2)
    each = [1 - (means[:, a, a] + means[:, b, b]) / (2 * means[:, a, b]) for a, b in pairs]
    return np.asarray(np.mean(each, axis=0))


def euclidean(products: Floats) -> Floats:
    """Distances of all rows from their inner products."""
    square = np.diag(products)
    return np.asarray(np.sqrt(np.maximum(square[:, None] + square - 2 * products, 0)))


def recentred(products: Floats) -> Floats:
    """Inner products of the same rows about their own mean."""
    mean = products.mean(axis=0)
    return np.asarray(products - mean[:, None] - mean + mean.mean())


def indicators(labellings: Sequence[Ints], classes: int) -> Floats:
    """Which rows each labelling puts into each class: shape (labellings, classes, rows)."""
    return np.stack([_indicators(kind, classes) for kind in labellings])


def _indicators(kind: Ints, classes: int) -> Floats:
    return np.asarray(kind == np.arange(classes)[:, None], dtype=np.float64)


def _between(members: Floats, pairs: Floats) -> Floats:
    """Sums over the pairs of rows of every two classes: shape (labellings, classes, classes)."""
    return np.asarray(np.einsum("lai,lbi->lab", members @ pairs, members))


def _rate(products: Floats, unit: float) -> float:
    return log_determinant(products / len(products), 1 / (NOISE * unit)) / 2


def _most(classes: int) -> float:
    """The rate of equally distant class means without any spread."""
    return (classes - 1) / 2 * float(np.log1p(1 / (NOISE * (classes - 1))))
