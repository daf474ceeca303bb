"""The experiment: which rows train and test which probes, and what came of it, site by site and over the sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, folds, numbered, shuffled_labels
from deepsight_core.protocol import Site
from deepsight_core.statistics import Interval, percentile_interval
from deepsight_linear_probe.probe import Fit, Kernel, Split, difference_of_means, ridge, splits, standardised
from deepsight_linear_probe.ranking import auroc_within, bootstrap_auroc, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """Everything that is drawn before a probe is trained; all probes and controls share it, so that they compare."""

    labels: Ints
    """(rows, 1 + permutations): the observed labels, then the shuffled ones."""
    groups: Ints
    fold: Ints
    parts: Sequence[Split]
    weights: Floats
    """(draws, rows): bootstrap weights."""
    penalties: tuple[float, ...]

    @property
    def y(self) -> Ints:
        return self.labels[:, 0]

    @property
    def clusters(self) -> int:
        return int(self.groups.max()) + 1


def design(
    y: Ints,
    groups: Ints,
    *,
    count: int,
    permutations: int,
    resamples: int,
    penalties: tuple[float, ...],
    seed: int,
) -> Design:
    """Draw folds, permutations and bootstrap weights. Raises DiagnosticError where the clusters do not suffice."""
    fold = folds(y, groups, count, seed)
    labels = np.column_stack([y, shuffled_labels(y, groups, permutations, seed)])
    weights = cluster_weights(groups, resamples, seed)
    return Design(labels, numbered(groups), fold, splits(groups, fold), weights, penalties)


@dataclass(frozen=True)
class Reading:
    """How well held-out scores rank the rows."""

    scores: Floats
    """(rows, 1 + permutations)"""
    auroc: Floats
    """(1 + permutations,): observed, then under shuffled labels."""
    draws: Floats
    """The observed value under the bootstrap weights."""
    clusters: int

    @property
    def value(self) -> float:
        return float(self.auroc[0])

    @property
    def null(self) -> Floats:
        return self.auroc[1:]

    @property
    def interval(self) -> Interval:
        return interval(self.value, self.draws, self.clusters)

    @property
    def band(self) -> Interval:
        return percentile_interval(self.null)


def read(scores: Floats, plan: Design) -> Reading:
    return Reading(
        scores=scores,
        auroc=auroc_within(scores, plan.labels, plan.fold),
        draws=bootstrap_auroc(scores[:, 0], plan.y, plan.fold, plan.weights),
        clusters=plan.clusters,
    )


@dataclass(frozen=True)
class Probed:
    """One site: the trained probe, and the difference of means."""

    site: Site
    fit: Fit
    ridge: Reading
    means: Reading


def probe_site(site: Site, x: NDArray[np.floating], plan: Design) -> Probed:
    fit = ridge(standardised(x), plan.labels, plan.parts, plan.penalties)
    means = difference_of_means(x, plan.labels, plan.parts)
    return Probed(site, fit, read(fit.scores, plan), read(means, plan))


def probe_control(kernel: Kernel, plan: Design) -> Reading:
    return read(ridge(kernel, plan.labels, plan.parts, plan.penalties).scores, plan)


@dataclass(frozen=True)
class Chosen:
    """The probe whose site, too, was chosen inside the cross-validation."""

    reading: Reading
    probability: Floats
    """(rows,): held out from the choice, the training and the calibration."""
    places: tuple[int, ...]
    """Number of the chosen site, by row."""

    @property
    def usual(self) -> int:
        """The site that most rows were scored at; the earlier one of equals."""
        return int(np.argmax(np.bincount(self.places)))


def choose(sites: Sequence[Probed], plan: Design) -> Chosen:
    """In each fold, take the site with the smallest inner cross-validation error, which knows nothing of the test.

    The best of many sites looks better than it is. This choice is made anew in each fold and, to know what it yields
    by luck, for each permutation.
    """
    error = np.stack([probed.fit.error for probed in sites])
    best = np.argmin(error, axis=0, keepdims=True)[0][plan.fold]
    row, column = np.arange(len(plan.labels)), np.arange(plan.labels.shape[1])
    scores = np.stack([probed.fit.scores for probed in sites])[best, row[:, None], column]
    probability = np.stack([probed.fit.probability for probed in sites])[best[:, 0], row]
    return Chosen(read(scores, plan), probability, tuple(int(place) for place in best[:, 0]))


def calibration_error(probability: Floats, y: Ints, bins: int = 10) -> Floats:
    """Expected calibration error over equal bins of [0, 1] (Naeini et al. 2015), for each column of labels."""
    which = np.minimum((probability * bins).astype(np.int64), bins - 1)
    member = which[:, None] == np.arange(bins)
    excess = member.T.astype(np.float64) @ (probability[:, None] - y)
    return np.asarray(np.abs(excess).sum(axis=0) / len(probability))
