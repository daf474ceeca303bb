"""Normalised effects of patches: their size, interval, null and p, over pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import familywise_p

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn once and used for all statistics, so that they compare."""

    weights: Floats
    """(draws, pairs): how often each pair occurs in each bootstrap draw."""
    signs: Floats
    """(flips, pairs): +1 or -1."""


def draws(pairs: int, resamples: int, flips: int, seed: int) -> Draws:
    random = np.random.default_rng(seed)
    weights = random.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples).astype(np.float64)
    return Draws(weights, random.choice([-1.0, 1.0], size=(flips, pairs)))


@dataclass(frozen=True, eq=False)
class Effects:
    """Of several places: how much of the gap between twins a patch there closes; 0 nothing, 1 all of it."""

    value: Floats
    """(places,): the mean change of the score over the mean gap."""
    drawn: Floats
    """(draws, places)"""
    null: Floats
    """(draws, places): the same for patches from unrelated prompts of the patched prompt's own class."""
    p: Floats
    """(places,): that a twin's activation does no more than an unrelated one, corrected for the number of places."""

    @property
    def interval(self) -> tuple[Floats, Floats]:
        low, high = np.quantile(self.drawn, [0.025, 0.975], axis=0)
        return low, high

    @property
    def band(self) -> tuple[Floats, Floats]:
        low, high = np.quantile(self.null, [0.025, 0.975], axis=0)
        return low, high


def effects(change: Floats, unrelated: Floats, gap: Floats, drawn: Draws) -> Effects:
    """`change` and `unrelated` are changes of the score, (places, pairs), by patches of twin and stranger;
    `gap` is what the twin's score is above the patched prompt's own, (pairs,), of one sign.

    A ratio of means, so that no pair's small gap makes a large effect. p comes from flipping, pair by pair, the sign of
    the difference between both patches: under the null either could be the twin's. The statistic is the sum of the
    differences over the root of the sum of their squares, the largest over places its null (Westfall and Young 1993).
    """
    weighed = drawn.weights @ gap
    difference = change * np.sign(gap) - unrelated * np.sign(gap)
    size = np.sqrt((difference**2).sum(axis=1, keepdims=True))
    scaled = np.divide(difference, size, out=np.zeros_like(difference), where=size > 1e-9)
    return Effects(
        value=change.sum(axis=1) / gap.sum(),
        drawn=(drawn.weights @ change.T) / weighed[:, None],
        null=(drawn.weights @ unrelated.T) / weighed[:, None],
        p=familywise_p(scaled.sum(axis=1), scaled @ drawn.signs.T),
    )


def rises(profile: Floats) -> NDArray[np.int64]:
    """Where, along the last axis, an effect grows most; before the first place it is 0."""
    first = np.zeros((*profile.shape[:-1], 1))
    return np.asarray(np.diff(profile, axis=-1, prepend=first).argmax(axis=-1))
