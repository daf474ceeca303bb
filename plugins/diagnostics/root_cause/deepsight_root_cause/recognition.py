"""Does the model represent the request as harmful? A calibrated probe that never saw the sample it judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_probing import Fit, Selected, auroc_within, bootstrap_auroc, interval, ridge, select, standardised
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, shuffled_labels
from deepsight_core.statistics import Interval, permutation_p
from deepsight_root_cause.cases import Cases, Ints

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """How well scores tell two classes of the reported rows apart."""

    value: float
    interval: Interval
    null: Floats
    """Under shuffled labels."""
    count: int

    @property
    def p(self) -> float:
        return permutation_p(self.value, self.null)


def probes(x: NDArray[np.floating], labels: Ints, known: Cases, penalties: Sequence[float]) -> list[Fit]:
    """One probe a layer of activations (rows, layers, width), for all columns of labels (rows, columns)."""
    return [ridge(standardised(x[:, layer]), labels, known.parts, penalties) for layer in range(x.shape[1])]


def recognition(
    x: NDArray[np.floating],
    known: Cases,
    penalties: Sequence[float],
    *,
    permutations: int,
    resamples: int,
    seed: int,
) -> tuple[Selected, Ranking | None]:
    """The probe's reading of every row, its layer chosen by the training rows; and how well it ranks the reported
    rows, None where no fold holds both classes. Every permutation repeats the choice of layer and penalty."""
    labels = np.column_stack([known.harmful, exchanged(known, permutations, seed)])
    selected = select(probes(x, labels, known, penalties), known.fold)
    rows = known.reported
    ranking = ranked(selected.scores[rows], labels[rows], known.fold[rows], known.groups[rows], resamples, seed)
    return selected, ranking


def exchanged(known: Cases, count: int, seed: int) -> Ints:
    """Shuffled labels, (rows, count), in which the rows of one label in one cluster stay together: they may be forms of
    one prompt, and are no independent witnesses."""
    units, which = np.unique(np.column_stack([known.groups, known.harmful]), axis=0, return_inverse=True)
    return shuffled_labels(units[:, 1], units[:, 0], count, seed)[which.reshape(-1)]


def ranked(scores: Floats, labels: Ints, fold: Ints, groups: Ints, resamples: int, seed: int) -> Ranking | None:
    """Of scores and labels of shape (rows, 1 + permutations), the observed ones first."""
    values = auroc_within(scores, labels, fold)
    if not np.isfinite(values).all():
        return None
    draws = bootstrap_auroc(scores[:, 0], labels[:, 0], fold, cluster_weights(groups, resamples, seed))
    within = interval(float(values[0]), draws, len(np.unique(groups)))
    return Ranking(float(values[0]), within, values[1:], len(fold))
