"""The experiment: which pairs, the sweep over layers, and the few heads and MLPs that are patched in earnest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from deepsight_causal import RefusalTokens, scores
from deepsight_causal.pairs import Twins
from numpy.typing import NDArray

from deepsight_activation_patching.attribution import Estimates
from deepsight_activation_patching.effects import Draws, Effects, draws, effects
from deepsight_activation_patching.patching import Job, Place, patched
from deepsight_core.inside import Inside

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scored:
    """Pairs that can be told apart by their scores, and how many cannot."""

    pairs: tuple[Twins, ...]
    harmful: Floats
    harmless: Floats
    """Refusal scores, by pair."""
    left_out: int

    @property
    def gap(self) -> Floats:
        return self.harmful - self.harmless


def scored(inside: Inside, pairs: Sequence[Twins], tokens: RefusalTokens, least: float) -> Scored:
    """Only pairs whose harmful prompt scores at least so much higher: a smaller gap cannot be closed by a share."""
    prompts = [prompt for pair in pairs for prompt in (pair.positive, pair.negative)]
    both = scores(inside, prompts, tokens).reshape(-1, 2)
    usable = both[:, 0] - both[:, 1] >= least
    kept = tuple(pair for pair, use in zip(pairs, usable, strict=True) if use)
    return Scored(kept, both[usable, 0], both[usable, 1], int((~usable).sum()))


@dataclass(frozen=True, eq=False)
class Sweep:
    """The residual stream at the last token, patched after every block."""

    denoise: Effects
    """Of the harmful activation in the harmless prompt."""
    noise: Effects
    """Of the harmless activation in the harmful prompt."""
    by_pair: Floats
    """(layers, pairs): changes of the harmless prompt's score."""


def sweep(inside: Inside, tokens: RefusalTokens, kept: Scored, seen: Estimates, drawn: Draws) -> Sweep:
    """Nothing is chosen: all layers are patched, and all pairs are reported."""
    places = [Place("resid_out", layer) for layer in seen.layers]
    every = np.arange(len(kept.pairs))
    into_harmless, unrelated_harmless = _changes(inside, tokens, kept, seen, places, every, into="negative")
    into_harmful, unrelated_harmful = _changes(inside, tokens, kept, seen, places, every, into="positive")
    return Sweep(
        effects(into_harmless, unrelated_harmless, kept.gap, drawn),
        effects(into_harmful, unrelated_harmful, -kept.gap, drawn),
        into_harmless,
    )


@dataclass(frozen=True, eq=False)
class Confirmed:
    """Heads and MLPs that were patched in earnest."""

    places: tuple[Place, ...]
    top: int
    """The first so many were chosen by their estimates, the others at random."""
    exact: Effects
    estimated: Floats
    """On the same pairs: (places,)."""
    pairs: int


def confirm(
    inside: Inside,
    tokens: RefusalTokens,
    kept: Scored,
    seen: Estimates,
    *,
    top: int,
    others: int,
    resamples: int,
    flips: int,
    seed: int,
) -> Confirmed:
    """Patch those heads and MLPs whose estimates are largest, and as a calibration some that are drawn at random.

    They are chosen on one half of the pairs and patched on the other.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(kept.pairs))
    choose, report = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    ranked = np.argsort(-np.abs(seen.effects[choose].mean(axis=0)), kind="stable")
    rest = random.permutation(ranked[top:])[:others]
    numbers = np.concatenate([ranked[:top], rest])
    places = [seen.components[number] for number in numbers]
    change, unrelated = _changes(inside, tokens, kept, seen, places, report, into="negative")
    gap = kept.gap[report]
    return Confirmed(
        places=tuple(places),
        top=min(top, len(ranked)),
        exact=effects(change, unrelated, gap, draws(len(report), resamples, flips, seed)),
        estimated=seen.effects[np.ix_(report, numbers)].sum(axis=0) / gap.sum(),
        pairs=len(report),
    )


def own_activation(inside: Inside, tokens: RefusalTokens, kept: Scored, seen: Estimates) -> float:
    """The largest change of a score when every harmless prompt is patched with its own activation in the middle layer:
    what rounding does."""
    place = Place("resid_out", seen.layers[len(seen.layers) // 2])
    prompts = [pair.negative for pair in kept.pairs]
    own = seen.at(place, [prompt.id for prompt in prompts])
    jobs = [Job((row,), place, prompt, own[row]) for row, prompt in enumerate(prompts)]
    found = patched(inside, tokens, jobs)
    return float(max(abs(found[row,] - kept.harmless[row]) for row in range(len(prompts))))


def _changes(
    inside: Inside,
    tokens: RefusalTokens,
    kept: Scored,
    seen: Estimates,
    places: Sequence[Place],
    chosen: Ints,
    into: Literal["positive", "negative"],
) -> tuple[Floats, Floats]:
    """Changes of the score of one twin, (places, pairs), when it is patched with the other, and when it is patched with
    the next pair's prompt of its own class."""
    base = kept.harmful if into == "positive" else kept.harmless
    own = [getattr(kept.pairs[row], into) for row in chosen]
    other = [kept.pairs[row].negative if into == "positive" else kept.pairs[row].positive for row in chosen]
    jobs = []
    for number, place in enumerate(places):
        twins = seen.at(place, [prompt.id for prompt in other])
        alike = np.roll(seen.at(place, [prompt.id for prompt in own]), 1, axis=0)
        for column, prompt in enumerate(own):
            jobs.append(Job((0, number, column), place, prompt, twins[column]))
            jobs.append(Job((1, number, column), place, prompt, alike[column]))
    found = patched(inside, tokens, jobs)
    table = np.empty((2, len(places), len(own)))
    for key, value in found.items():
        table[key] = value
    table -= base[chosen]
    return table[0], table[1]
