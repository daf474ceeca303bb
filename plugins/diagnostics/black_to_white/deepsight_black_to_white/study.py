"""The experiment: every rung predicts the same held-out outcomes, and what a rung adds is compared with luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_probing import (
    Fit,
    Kernel,
    Split,
    auroc_within,
    bootstrap_auroc,
    interval,
    ridge,
    select,
    splits,
)
from numpy.typing import NDArray

from deepsight_black_to_white.features import Ladder
from deepsight_black_to_white.questions import Question
from deepsight_core.crossfit import cluster_weights, shuffled_labels
from deepsight_core.statistics import Interval, percentile_interval, permutation_p

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 5
"""Levels of predicted probability within which outcomes are shuffled, where there are clusters enough."""
FEWEST = 10
"""Clusters in a level."""


@dataclass(frozen=True)
class Design:
    """What all rungs share: who trains, who is tested, which outcomes are shuffled, which clusters are drawn."""

    question: Question
    fold: Ints
    strata: Ints
    """Samples are ranked against those of the same stratum: fold and data set."""
    parts: Sequence[Split]
    weights: Floats
    """(draws, rows)"""
    penalties: tuple[float, ...]


def design(question: Question, fold: Ints, penalties: tuple[float, ...], resamples: int, seed: int) -> Design:
    strata = fold * len(question.datasets) + question.data
    weights = cluster_weights(question.groups, resamples, seed)
    return Design(question, fold, strata, splits(question.groups, fold), weights, penalties)


@dataclass(frozen=True)
class Rung:
    """How well one set of features predicts the outcomes."""

    auroc: Floats
    """(columns,): observed, then of shuffled outcomes."""
    draws: Floats
    """Observed, under the bootstrap weights."""
    probability: Floats
    """(rows,): held out."""
    null: Floats
    """AUROC of outcomes that were shuffled freely."""
    brier: Floats
    """Mean squared error of the probability under the bootstrap weights, with the observed one first, as a share of
    what the base rate alone would have."""
    clusters: int
    places: tuple[int, ...]

    @property
    def value(self) -> float:
        return float(self.auroc[0])

    @property
    def interval(self) -> Interval:
        return interval(self.value, self.draws, self.clusters)


@dataclass(frozen=True)
class Gain:
    """What one rung adds to another, in AUROC and in Brier skill (both better when higher).

    A rung that ranks worse than chance counts as chance: to undo its mistakes is no gain.
    """

    value: float
    low: float
    high: float
    null_low: float
    null_high: float
    p: float
    skill: float
    skill_low: float
    skill_high: float

    @property
    def shown(self) -> bool:
        """Whether it leaves the null and the interval excludes 0."""
        return self.p <= 0.05 and self.low > 0


@dataclass(frozen=True)
class Columns:
    """Which columns of the labels are what; column 0 is observed."""

    labels: Ints
    plain: slice
    """Shuffled freely within each data set: nothing predicts these."""
    given_text: slice
    """Shuffled among samples that look alike to the text: beyond it, nothing predicts these."""
    given_token: slice
    """The same for text and first token; empty where that is not known."""


@dataclass(frozen=True)
class Ascent:
    """One question under one design: the rungs and what each adds."""

    plan: Design
    text: Rung
    first_token: Rung | None
    states: Rung
    """All there is; states are used in folds whose training rows are predicted better with them."""
    over_text: Gain
    over_token: Gain | None
    layers: tuple[int | None, ...]
    """The layer of the states by which each row was predicted; None where they were not used."""
    profile: tuple[tuple[int, Gain, Floats], ...]
    """By layer: what its states add to the text, and that under shuffled outcomes."""


def ascend(plan: Design, rungs: Ladder, permutations: int, seed: int) -> Ascent:
    """Fit every rung on the observed and on the shuffled outcomes."""
    columns = _columns(plan, rungs, permutations, seed)

    def fit(kernel: Kernel) -> Fit:
        return ridge(kernel, columns.labels, plan.parts, plan.penalties)

    text = fit(rungs.text)
    known = [text] if rungs.first_token is None else [text, fit(rungs.first_token)]
    inner = {layer: [fit(kernel) for kernel in kernels] for layer, kernels in rungs.states.items()}
    beyond = {layer: [fit(kernel) for kernel in kernels] for layer, kernels in rungs.both.items()}
    candidates: list[tuple[int | None, Fit]] = [(None, one) for one in known]
    for layer in inner:
        candidates += [(layer, one) for one in (*inner[layer], *beyond.get(layer, ()))]
    bottom = _rung(plan, [text], columns)
    middle = None if rungs.first_token is None else _rung(plan, known, columns)
    top = _rung(plan, [one for _, one in candidates], columns)
    profile = []
    for layer, fits in inner.items():
        one = _rung(plan, [text, *fits], columns)
        null = _over(one.auroc, bottom.auroc)[columns.given_text]
        profile.append((layer, _gain(one, bottom, columns.given_text), null))
    return Ascent(
        plan=plan,
        text=bottom,
        first_token=middle,
        states=top,
        over_text=_gain(top, bottom, columns.given_text),
        over_token=None if middle is None else _gain(top, middle, columns.given_token),
        layers=tuple(candidates[place][0] for place in top.places),
        profile=tuple(profile),
    )


def _columns(plan: Design, rungs: Ladder, permutations: int, seed: int) -> Columns:
    """The observed outcomes and three kinds of shuffled ones, each of which keeps clusters and data sets together."""
    question, observed = plan.question, plan.question.y[:, None]
    levels = np.zeros(len(question), dtype=np.int64)
    blocks = [observed, _shuffled(question, levels, permutations, seed)]
    for kernel in (rungs.text, rungs.first_token):
        if kernel is not None:
            reading = ridge(kernel, observed, plan.parts, plan.penalties).probability
            blocks.append(_shuffled(question, _levels(question, reading), permutations, seed + len(blocks)))
    ends = np.cumsum([block.shape[1] for block in blocks])
    token = slice(int(ends[2]), int(ends[-1]))
    return Columns(np.hstack(blocks), slice(1, int(ends[1])), slice(int(ends[1]), int(ends[2])), token)


def _levels(question: Question, probability: Floats) -> Ints:
    """Which samples are alike to a rung: up to BINS levels of the mean probability of a cluster, in each data set."""
    which = question.groups
    mean = np.bincount(which, weights=probability) / np.bincount(which)
    first = np.unique(which, return_index=True)[1]
    home = question.data[first]
    level = np.zeros(len(mean), dtype=np.int64)
    for number in range(len(question.datasets)):
        rows = np.flatnonzero(home == number)
        bins = max(1, min(BINS, len(rows) // FEWEST))
        level[rows[np.argsort(mean[rows], kind="stable")]] = np.arange(len(rows)) * bins // max(1, len(rows))
    return level[which]


def _shuffled(question: Question, level: Ints, count: int, seed: int) -> Ints:
    """`count` outcome vectors as columns, shuffled within data set and level."""
    out = np.empty((len(question), count), dtype=np.int64)
    first = np.unique(question.groups, return_index=True)[1]
    stratum = (question.data[first] * BINS)[question.groups] + level
    for number in np.unique(stratum):
        rows = np.flatnonzero(stratum == number)
        out[rows] = shuffled_labels(question.y[rows], question.groups[rows], count, seed * 1000 + int(number))
    return out


def _rung(plan: Design, fits: Sequence[Fit], columns: Columns) -> Rung:
    chosen = select(fits, plan.fold)
    y = plan.question.y
    squares = (chosen.probability - y) ** 2
    weights = np.vstack([np.ones(len(y)), plan.weights])
    rate = weights @ y / weights.sum(axis=1)
    unit = rate * (1 - rate)
    brier = np.divide(weights @ squares / weights.sum(axis=1), unit, out=np.full_like(unit, np.nan), where=unit > 0)
    auroc = auroc_within(chosen.scores, columns.labels, plan.strata)
    return Rung(
        auroc=auroc,
        draws=bootstrap_auroc(chosen.scores[:, 0], y, plan.strata, plan.weights),
        probability=chosen.probability,
        null=auroc[columns.plain],
        brier=brier,
        clusters=plan.question.clusters,
        places=chosen.places,
    )


def _gain(rung: Rung, below: Rung, shuffled: slice) -> Gain:
    gained = _over(rung.auroc, below.auroc)
    value, null = float(gained[0]), gained[shuffled]
    skill = below.brier - rung.brier
    return Gain(
        value,
        *percentile_interval(_over(rung.draws, below.draws)),
        *percentile_interval(null),
        permutation_p(value, null),
        float(skill[0]),
        *percentile_interval(skill[1:]),
    )


def _over(auroc: Floats, below: Floats) -> Floats:
    return auroc - np.maximum(below, 0.5)
