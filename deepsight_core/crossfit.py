"""Cross-fitting on clustered samples: folds, shuffled labels and bootstrap weights that never split a cluster.

Clusters are told apart by value and numbered by first appearance, so a result depends on the order of the rows alone:
a diagnostic that sorts its rows by sample id gives the same numbers whatever order the samples came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, Array, Want

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def folds(y: ArrayLike, groups: ArrayLike, count: int, seed: int = 0) -> Ints:
    """Fold number of each row, 0 to count - 1: whole clusters, dealt so that the classes are spread evenly.

    Raises DiagnosticError when a class appears in fewer than `count` clusters: some fold could not be scored, or some
    training set would lack the class.
    """
    y, which = np.asarray(y), numbered(groups)
    for label in np.unique(y):
        holding = len(np.unique(which[y == label]))
        if holding < count:
            raise DiagnosticError(
                f"{count} folds need {count} independent clusters of each class, but class {label} appears in "
                f"{holding} of {which.max() + 1}; evaluate more samples or lower folds"
            )
    sizes = np.bincount(which)
    share = np.bincount(which, weights=y) / sizes
    luck = np.random.default_rng(seed).random(len(sizes))
    fold = np.empty(len(sizes), dtype=np.int64)
    fold[np.lexsort((luck, -sizes, share))] = np.arange(len(sizes)) % count
    return fold[which]


def shuffled_labels(y: ArrayLike, groups: ArrayLike, count: int, seed: int = 0) -> Ints:
    """`count` label vectors, as columns, that are as likely as `y` where labels have nothing to do with the rows.

    Two restricted permutations, each of which leaves the clusters as they are. Where a cluster holds both labels (a
    harmful prompt and its harmless twin), labels move inside it: for pairs, a coin decides whether they swap. Clusters
    of one label (paraphrases of one prompt, or single samples) exchange their labels among themselves as wholes.
    """
    y, which = np.asarray(y, dtype=np.int64), numbered(groups)
    rng = np.random.default_rng(seed)
    sizes = np.bincount(which)
    ones = np.bincount(which, weights=y)
    pure = (ones == 0) | (ones == sizes)
    out = np.empty((len(y), count), dtype=np.int64)

    inside = np.flatnonzero(~pure[which])
    by_cluster = inside[np.argsort(which[inside], kind="stable")]
    drawn = np.argsort(which[inside][:, None] + rng.random((len(inside), count)), axis=0)
    out[by_cluster] = y[inside][drawn]

    wholes = np.flatnonzero(pure)
    labels = (ones > 0)[wholes].astype(np.int64)[np.argsort(rng.random((len(wholes), count)), axis=0)]
    rows = np.flatnonzero(pure[which])
    out[rows] = labels[np.searchsorted(wholes, which[rows])]
    return out


def cluster_weights(groups: ArrayLike, resamples: int, seed: int = 0) -> Floats:
    """How often each row occurs in each bootstrap draw of whole clusters: shape (resamples, rows).

    A statistic that takes weights gives its bootstrap distribution as one matrix product, and two statistics under the
    same weights give the distribution of their difference.
    """
    which = numbered(groups)
    count = which.max() + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, which].astype(np.float64)


def familywise_p(observed: ArrayLike, null: ArrayLike) -> Floats:
    """One-sided p value of each of several statistics, corrected for having looked at all of them.

    The share of permutations whose *largest* statistic reaches the one observed (Westfall and Young 1993, single step;
    the observation counts itself, so p is never 0). `null` has shape (statistics, permutations), with the same
    permutations in each row: neighbouring layers agree, and unlike Holm's this correction does not charge for that.
    """
    largest = np.sort(np.max(np.asarray(null, dtype=np.float64), axis=0))
    reached = len(largest) - np.searchsorted(largest, np.asarray(observed, dtype=np.float64), side="left")
    return np.asarray((1 + reached) / (1 + len(largest)), dtype=np.float64)


def numbered(groups: ArrayLike) -> Ints:
    """Clusters numbered from 0 in the order in which they first appear."""
    _, first, which = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which].astype(np.int64)


def vectors(acts: Acts, want: Want, ids: Sequence[str]) -> Array:
    """The activations of these samples, shape (samples, layers, width), for a want of one position.

    Raises DiagnosticError where one is NaN or infinite: no statistic of such rows means anything.
    """
    array = acts[want][acts.rows(ids)][:, :, 0]
    bad = np.logical_not(np.isfinite(array).all(axis=2))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        layer = acts.layers[want][column]
        raise DiagnosticError(
            f"the {want.site} activations of sample {ids[row]!r}{'' if layer is None else f' at layer {layer}'} hold "
            f"NaN or infinity ({int(bad.any(axis=1).sum())} of {len(ids)} samples do); load the model in bfloat16 or "
            "float32, since float16 overflows, and check its weights"
        )
    return array


@contextmanager
def attributed(diagnostic: str) -> Iterator[None]:
    """Put the diagnostic's name before the message of a DiagnosticError."""
    try:
        yield
    except DiagnosticError as error:
        raise DiagnosticError(f"{diagnostic}: {error}") from error
