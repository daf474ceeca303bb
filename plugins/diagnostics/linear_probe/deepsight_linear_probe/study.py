"""The experiment: which rows train and test which probes, and what came of it, site by site and over the sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_probing import (
    Fit,
    Kernel,
    Selected,
    Split,
    auroc_within,
    bootstrap_auroc,
    difference_of_means,
    interval,
    ridge,
    select,
    splits,
    standardised,
)
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, folds, numbered, shuffled_labels
from deepsight_core.protocol import Site
from deepsight_core.statistics import Interval, percentile_interval

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
    selected: Selected


def choose(sites: Sequence[Probed], plan: Design) -> Chosen:
    """The site is chosen by each fold's training rows."""
    selected = select([probed.fit for probed in sites], plan.fold)
    return Chosen(read(selected.scores, plan), selected)
