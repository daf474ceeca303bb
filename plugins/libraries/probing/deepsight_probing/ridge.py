"""Ridge probes in the dual: cross-fitted by cluster, for all penalties and all label vectors at once.

With n samples and d >> n features, everything that a ridge probe does is a function of the n x n matrix of inner
products. One eigendecomposition of its training block serves every penalty, and the observed labels and their
permutations are columns of one right-hand side, so that the null distribution costs little more than the probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import numbered

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kernel = Callable[[Ints], Floats]
"""Training rows -> inner products of all rows, shape (n, n), prepared with statistics of the training rows alone."""


@dataclass(frozen=True)
class Split:
    """One fold: whom to train on, whom to test, and which training rows the inner loop leaves out together."""

    train: Ints
    test: Ints
    blocks: tuple[Ints, ...]
    """For each size of cluster, shape (clusters, size): rows as numbered within `train`."""


@dataclass(frozen=True)
class Fit:
    """Held-out results of one probe. Column 0 belongs to the observed labels, the others to the permuted ones."""

    scores: Floats
    """(rows, columns): each row scored by the probe that was trained without its fold."""
    error: Floats
    """(folds, columns): squared error of the inner loop at the chosen penalty; knows nothing of the test rows."""
    probability: Floats
    """(rows,): held-out probability of the positive class under the observed labels."""


def splits(groups: Ints, fold: Ints, trainable: NDArray[np.bool_] | None = None) -> list[Split]:
    """The folds, in order of their number. Of rows that are not `trainable`, shape (rows,), nothing is learnt; they are
    tested with their fold."""
    found = []
    for number in np.unique(fold):
        train = np.flatnonzero((fold != number) & (True if trainable is None else trainable))
        which = numbered(groups[train])
        size = np.bincount(which)[which]
        by_cluster = np.argsort(which, kind="stable")
        blocks = tuple(by_cluster[size[by_cluster] == m].reshape(-1, m) for m in np.unique(size))
        found.append(Split(train, np.flatnonzero(fold == number), blocks))
    return found


def standardised(x: NDArray[np.floating]) -> Kernel:
    """Inner products of features brought to mean 0 and variance 1 over the training rows.

    A feature that is constant there, to the resolution of float32, is dropped.
    """
    offset = x.mean(axis=0, dtype=np.float64)
    centred = x - offset
    squares = centred * centred

    def kernel(train: Ints) -> Floats:
        chosen = np.zeros(len(centred))
        chosen[train] = 1 / len(train)
        mean = chosen @ centred
        spread = np.sqrt(np.maximum(chosen @ squares - mean * mean, 0))
        varies = spread > 1e-6 * np.abs(offset)
        z = (centred - mean) * np.divide(1, spread, out=np.zeros_like(spread), where=varies)
        return np.asarray(z @ z.T)

    return kernel


def ridge(kernel: Kernel, labels: Ints, parts: Sequence[Split], penalties: Sequence[float]) -> Fit:
    """Probe every column of `labels`, shape (rows, 1 + permutations), out of fold.

    In each fold the penalty is chosen, for each column by itself, by the squared error of leaving out one training
    cluster at a time. Penalties are relative to the mean eigenvalue of the training block, so that one grid fits any
    width and any scale. Centring and scaling of the training fold are held fixed in that inner loop.
    """
    scores = np.zeros(labels.shape)
    error = np.empty((len(parts), labels.shape[1]))
    probability = np.empty(len(labels))
    for number, part in enumerate(parts):
        products = kernel(part.train)
        target = labels[part.train].astype(np.float64)
        target -= target.mean(axis=0)
        alpha, residual, error[number] = _path(products[np.ix_(part.train, part.train)], target, part.blocks, penalties)
        scores[part.test] = products[np.ix_(part.test, part.train)] @ alpha
        inner = target[:, 0] - residual
        probability[part.test] = _calibrate(inner, labels[part.train, 0])(scores[part.test, 0])
    return Fit(scores, error, probability)


def difference_of_means(x: NDArray[np.floating], labels: Ints, parts: Sequence[Split]) -> Floats:
    """Held-out projections on the difference of the class means of the training rows: a probe with nothing to tune.

    Shape (rows, columns), in squared units of the activations. The direction is the one that is used to steer and to
    ablate (Marks and Tegmark 2023, "mass-mean" without the covariance).
    """
    centred = x - x.mean(axis=0, dtype=np.float64)
    products = centred @ centred.T
    scores = np.empty(labels.shape)
    for part in parts:
        ones = labels[part.train]
        positives = ones.sum(axis=0)
        contrast = ones / np.maximum(positives, 1) - (1 - ones) / np.maximum(len(ones) - positives, 1)
        scores[part.test] = products[np.ix_(part.test, part.train)] @ contrast
    return scores


def _path(
    gram: Floats, target: Floats, blocks: Sequence[Ints], penalties: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    """Dual coefficients at the best penalty of each column, the first column's left-out residuals there, and the
    smallest errors.

    With C = (G + lambda I)^-1 and a = C t, the residuals of a cluster g that was left out are C_gg^-1 a_g: exact, and
    nothing is refitted.
    """
    scale = np.trace(gram) / len(gram)
    if scale <= 0:  # no feature varies: predict the base rate
        return np.zeros_like(target), target[:, 0], (target**2).mean(axis=0)
    values, vectors = np.linalg.eigh(gram / scale)
    values = np.maximum(values, 0)
    rotated = vectors.T @ target
    best_alpha, best_residual = np.empty_like(target), np.empty_like(target[:, 0])
    best = np.full(target.shape[1], np.inf)
    for penalty in penalties:
        alpha = vectors @ (rotated / (values + penalty)[:, None])
        residual = np.empty_like(alpha)
        for block in blocks:
            part = vectors[block]
            corner = (part / (values + penalty)) @ part.transpose(0, 2, 1)
            residual[block] = np.linalg.inv(corner) @ alpha[block]
        error = (residual**2).mean(axis=0)
        better = error < best
        best[better] = error[better]
        best_alpha[:, better] = alpha[:, better]
        if better[0]:
            best_residual = residual[:, 0]
    return best_alpha / scale, best_residual, best


def _calibrate(scores: Floats, y: Ints) -> Callable[[Floats], Floats]:
    """Scores to probabilities: a logistic curve fitted to left-out training scores (Platt 1999, with his smoothed
    targets). A curve that would fall is replaced by the base rate: such a probe knows nothing."""
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    spread = scores.std() or 1.0
    design = np.column_stack([scores / spread, np.ones(len(scores))])
    curve = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    for _ in range(25):
        p = _logistic(design @ curve)
        gradient = design.T @ (p - target)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * len(y) * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        curve -= step
        if np.abs(step).max() < 1e-10:
            break
    if curve[0] < 0:
        curve = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
    return lambda new: _logistic(new * (curve[0] / spread) + curve[1])


def _logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
