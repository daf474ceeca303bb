"""Candidate directions: one for each place, screened on few samples, and chosen on more of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import (
    Effect,
    RefusalTokens,
    addition,
    difference_of_means,
    directional_ablation,
    divergence,
    effect,
    next_token,
    scores,
    split_half_cosine,
)
from numpy.typing import NDArray

from deepsight_core.inside import Inside
from deepsight_refusal_direction.samples import Ints, Samples

Floats = NDArray[np.float64]

DIVERGENCE = 0.1
"""The most that an ablation may move harmless prompts' next token, in nats (Arditi et al. 2024, appendix C)."""


@dataclass(frozen=True, eq=False)
class Place:
    """The residual stream that enters the blocks, at one position: shape (samples, layers, width)."""

    position: str
    layers: tuple[int, ...]
    states: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A direction and where it comes from."""

    position: str
    layer: int
    vector: Floats
    """Mean of the refused harmful less mean of the answered harmless, shape (width,)."""
    states: NDArray[np.float32]
    """All samples at its place, shape (samples, width)."""
    halves: float
    """Cosine of the directions that two random halves of the fitting samples give; NaN where unknown."""

    @property
    def digest(self) -> str:
        """Names the vector, in float32: 12 hexadecimal digits."""
        return hashlib.sha256(self.vector.astype(np.float32).tobytes()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class Trial:
    """What a candidate does to samples that it was not fitted on."""

    candidate: Candidate
    ablated: Effect
    """Change of the refusal score of positive samples when the direction is taken out."""
    added: Effect
    """Change of that of negative samples when it is added."""
    level: float
    """Mean refusal score of negative samples when it is added."""
    divergence: float | None = None
    """Mean KL divergence of the next token of negative samples when it is taken out; None when not measured."""


def fitted(places: Sequence[Place], samples: Samples, rows: Ints, seed: int) -> list[Candidate]:
    """A candidate for each place and layer where the means differ."""
    y, groups = samples.y[rows], samples.groups[rows]
    found = []
    for place in places:
        vectors = difference_of_means(place.states[rows], y)
        halves = split_half_cosine(place.states[rows], y, groups, seed)
        for column, layer in enumerate(place.layers):
            if np.linalg.norm(vectors[column]) > 0:
                states = place.states[:, column]
                found.append(Candidate(place.position, layer, vectors[column], states, float(halves[column])))
    return found


class Bench:
    """Measures candidates on samples of the part to choose on. At most `most` of either side."""

    def __init__(self, inside: Inside, samples: Samples, tokens: RefusalTokens, most: int, deep: bool) -> None:
        """`deep`: whether to measure the divergence as well."""
        self.inside, self.tokens = inside, tokens
        rows = [samples.rows("choose", positive, most) for positive in (True, False)]
        self.positive, self.negative = (samples.asked(some) for some in rows)
        self.clusters = [samples.groups[some] for some in rows]
        self.before = [scores(inside, prompts, tokens) for prompts in (self.positive, self.negative)]
        self.usual = next_token(inside, self.negative) if deep else None

    def try_out(self, candidate: Candidate) -> Trial:
        taken = directional_ablation(candidate.vector)
        ablated = scores(self.inside, self.positive, self.tokens, taken)
        added = scores(self.inside, self.negative, self.tokens, addition(candidate.vector, candidate.layer))
        moved = None
        if self.usual is not None:
            moved = float(divergence(self.usual, next_token(self.inside, self.negative, taken)).mean())
        return Trial(
            candidate,
            effect(self.before[0], ablated, self.clusters[0]),
            effect(self.before[1], added, self.clusters[1]),
            float(added.mean()),
            moved,
        )


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Best first, by the sum of their ranks in each of the measures."""
    costs = _costs(trials)
    ranks = (costs[None] < costs[:, None]).sum(axis=(1, 2))
    return [trials[place] for place in np.argsort(ranks, kind="stable")]


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other one equals or beats in every measure (the Pareto front)."""
    costs = _costs(trials)
    beaten = [bool((np.all(costs <= row, axis=1) & np.any(costs < row, axis=1)).any()) for row in costs]
    return [trial for trial, out in zip(trials, beaten, strict=True) if not out]


def choose(trials: Sequence[Trial]) -> tuple[Trial, bool]:
    """The chosen candidate, and whether it passed the published filter: harmless prompts are refused when it is added
    (a mean score of at least 0) and hardly moved when it is taken out (DIVERGENCE). Of those that pass, the one that
    lowers the refusal score the most. Where none passes, the best ranked of the Pareto front."""
    passing = [t for t in trials if t.level >= 0 and t.divergence is not None and t.divergence <= DIVERGENCE]
    if passing:
        return min(passing, key=lambda trial: trial.ablated.value), True
    return ranked(front(trials))[0], False


def _costs(trials: Sequence[Trial]) -> Floats:
    return np.array([[t.ablated.value, -t.added.value, t.divergence or 0.0] for t in trials], dtype=np.float64)
