"""The experiment: which prompts, which heads, what each does by itself, and what a set of them does together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens, scores
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, familywise_p, folds, numbered, shuffled_labels
from deepsight_core.evidence import Contrast
from deepsight_core.inside import Inside, Prompt
from deepsight_safety_heads.screening import screen
from deepsight_safety_heads.silencing import Head, Reading, Towards, by_layer, silenced

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the prompts, with what is drawn for them."""

    prompts: tuple[Prompt, ...]
    y: Ints
    shuffled: Ints
    """(prompts, permutations)"""
    weights: Floats
    """(draws, prompts)"""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(prompt.id for prompt in self.prompts)


def parts(
    contrast: Contrast, prompts: dict[str, Prompt], most: int, permutations: int, resamples: int, seed: int
) -> tuple[Part, Part]:
    """At most `most` prompts of each class, whole clusters at random: one half to choose on, one to report on."""
    order = np.argsort(contrast.ids, kind="stable")
    groups, y = numbered(contrast.groups[order]), contrast.y[order]
    room, kept = {0: most, 1: most}, []
    for group in np.random.default_rng(seed).permutation(groups.max() + 1):
        rows = np.flatnonzero(groups == group)
        if all((y[rows] == label).sum() <= left for label, left in room.items()):
            room = {label: left - int((y[rows] == label).sum()) for label, left in room.items()}
            kept += rows.tolist()
    rows = np.sort(np.array(kept, dtype=np.int64))
    half = folds(y[rows], groups[rows], 2, seed)
    made = []
    for number in (0, 1):
        own = rows[half == number]
        made.append(
            Part(
                tuple(prompts[contrast.ids[order[row]]] for row in own),
                y[own],
                shuffled_labels(y[own], groups[own], permutations, seed),
                cluster_weights(groups[own], resamples, seed),
            )
        )
    return made[0], made[1]


@dataclass(frozen=True, eq=False)
class Specificity:
    """How much more a change of the score concerns harmful prompts than harmless ones, head by head."""

    value: Floats
    """(heads,): mean change of harmful prompts less that of harmless ones, in log-odds."""
    drawn: Floats
    """(draws, heads)"""
    null: Floats
    """(permutations, heads): under shuffled labels."""
    p: Floats
    """(heads,): two-sided, corrected for the number of heads."""

    @property
    def interval(self) -> tuple[Floats, Floats]:
        low, high = np.nanquantile(self.drawn, [0.025, 0.975], axis=0)
        return low, high

    @property
    def band(self) -> tuple[Floats, Floats]:
        low, high = np.quantile(self.null, [0.025, 0.975], axis=0)
        return low, high


def specificity(change: Floats, part: Part) -> Specificity:
    """`change` is (prompts, heads). Each head's statistic is scaled by its spread under shuffled labels, so that a head
    that moves all scores wildly does not set the bar for the others; p is by the largest (Westfall and Young 1993)."""
    y = part.y
    value = change[y == 1].mean(axis=0) - change[y == 0].mean(axis=0)
    null = _difference(part.shuffled.T.astype(np.float64), (1 - part.shuffled.T).astype(np.float64), change)
    drawn = _difference(part.weights * y, part.weights * (1 - y), change)
    spread = np.maximum(null.std(axis=0), 1e-9)
    return Specificity(value, drawn, null, familywise_p(np.abs(value) / spread, (np.abs(null) / spread).T))


def _difference(ones: Floats, zeros: Floats, change: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            ones @ change / ones.sum(axis=1, keepdims=True) - zeros @ change / zeros.sum(axis=1, keepdims=True)
        )


@dataclass(frozen=True, eq=False)
class Screened:
    """Estimates for all heads, on the prompts to choose on."""

    heads: tuple[Head, ...]
    estimates: Floats
    """(prompts, heads)"""
    seen: Specificity


def screened(inside: Inside, tokens: RefusalTokens, part: Part, towards: Towards) -> Screened:
    heads, estimates = screen(inside, tokens, part.prompts, towards)
    return Screened(heads, estimates, specificity(estimates, part))


@dataclass(frozen=True, eq=False)
class Tested:
    """Heads that were silenced one by one, on the prompts to report on."""

    heads: tuple[Head, ...]
    top: int
    """The first so many were chosen by their estimates, the others at random."""
    before: Floats
    """Scores of the model as it is, by prompt."""
    readings: tuple[Reading, ...]
    change: Floats
    """(prompts, heads)"""
    seen: Specificity
    estimates: Floats
    """(prompts, heads), on the same prompts."""


def tested(
    inside: Inside,
    tokens: RefusalTokens,
    part: Part,
    found: Screened,
    towards: Towards,
    top: int,
    others: int,
    seed: int,
) -> Tested:
    """Silence the heads with the largest estimated specificity, and as a calibration some drawn at random."""
    ranked = np.argsort(-np.abs(found.seen.value), kind="stable")
    rest = np.random.default_rng(seed).permutation(ranked[top:])[:others]
    numbers = np.concatenate([ranked[:top], rest])
    heads = tuple(found.heads[number] for number in numbers)
    readings = by_layer(inside, tokens, part.prompts, heads, towards)
    before = scores(inside, part.prompts, tokens)
    change = np.stack([readings[head].score - before for head in heads], axis=1)
    _, estimates = screen(inside, tokens, part.prompts, towards)
    return Tested(
        heads,
        min(top, len(ranked)),
        before,
        tuple(readings[head] for head in heads),
        change,
        specificity(change, part),
        estimates[:, numbers],
    )


@dataclass(frozen=True, eq=False)
class Together:
    """Sets of heads, silenced together, on the prompts to report on."""

    heads: tuple[Head, ...]
    """In the order in which they were added."""
    change: Floats
    """(prompts, sizes): of the first head, the first two, and so on."""
    divergence: Floats
    """(prompts, sizes)"""
    random: Floats
    """(prompts, sets): of random sets of the full size."""
    sets: tuple[tuple[Head, ...], ...]
    """The random sets."""


def together(
    inside: Inside,
    tokens: RefusalTokens,
    choose: Part,
    report: Part,
    found: Screened,
    before: Floats,
    towards: Towards,
    size: int,
    sets: int,
    seed: int,
) -> Together | None:
    """Add heads one by one, each the one whose estimate, with the others silenced, falls most for harmful prompts above
    harmless ones. None where no estimate falls."""
    chosen: list[Head] = []
    estimates = found.estimates
    while len(chosen) < size:
        value = specificity(estimates, choose).value
        if value.min() >= 0:
            break
        chosen.append(found.heads[int(value.argmin())])
        if len(chosen) < size:
            _, estimates = screen(inside, tokens, choose.prompts, towards, chosen)
    if not chosen:
        return None
    random = np.random.default_rng(seed)
    drawn = tuple(
        tuple(found.heads[number] for number in random.choice(len(found.heads), len(chosen), replace=False))
        for _ in range(sets)
    )
    nested = [chosen[: count + 1] for count in range(len(chosen))]
    readings = silenced(inside, tokens, report.prompts, [*nested, *drawn], towards)
    change = np.stack([reading.score - before for reading in readings], axis=1)
    return Together(
        tuple(chosen),
        change[:, : len(nested)],
        np.stack([reading.divergence for reading in readings[: len(nested)]], axis=1),
        change[:, len(nested) :],
        drawn,
    )


def gaps(change: Floats, y: Ints | Sequence[int]) -> Floats:
    """Mean change of harmful prompts less that of harmless ones, by column."""
    y = np.asarray(y)
    return np.asarray(change[y == 1].mean(axis=0) - change[y == 0].mean(axis=0))
