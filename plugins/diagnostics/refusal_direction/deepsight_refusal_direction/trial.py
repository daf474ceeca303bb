"""The test of the chosen direction on samples that had no part in finding it, each beside random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import (
    Effect,
    RefusalTokens,
    addition,
    at_random,
    beyond_random,
    directional_ablation,
    effect,
    losses,
    scores,
)
from numpy.typing import NDArray

from deepsight_core.edits import Edit
from deepsight_core.inside import Inside, Prompt
from deepsight_core.statistics import percentile_interval
from deepsight_refusal_direction.candidates import Candidate
from deepsight_refusal_direction.samples import Ints, Samples

Floats = NDArray[np.float64]
Editor = Callable[[Floats], tuple[Edit, ...]]
"""The edit that puts a direction to the test."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The change of the refusal score of one side under one edit."""

    rows: Ints
    before: Floats
    after: Floats
    effect: Effect
    null: Floats
    """The mean change under each random direction, on `compared` samples."""
    compared: int
    p: float
    """One-sided: that one more random direction changes those samples' mean score as much, in the expected sense."""

    @property
    def band(self) -> tuple[float, float]:
        return percentile_interval(self.null)


@dataclass(frozen=True, eq=False)
class Cost:
    """The change of the loss on given answers under one edit."""

    effect: Effect
    before: float
    control: Effect | None
    """The same under one random direction."""


def editors(candidate: Candidate) -> dict[str, Editor]:
    """The two edits by name."""
    return {"ablation": directional_ablation, "addition": lambda vector: addition(vector, candidate.layer)}


def controls(candidate: Candidate, count: int, seed: int) -> Floats:
    """Random directions as long as the candidate: shape (count, width)."""
    return at_random(candidate.vector, count, seed)


def put_to_test(
    inside: Inside,
    samples: Samples,
    tokens: RefusalTokens,
    candidate: Candidate,
    edit: str,
    rows: Ints,
    random: Floats,
    compared: int,
    seed: int,
) -> Tested:
    """Refusal scores of these rows with and without the edit; the null is measured on the first `compared` of them."""
    editor = editors(candidate)[edit]
    prompts = samples.asked(rows)
    before = scores(inside, prompts, tokens)
    after = scores(inside, prompts, tokens, editor(candidate.vector))
    few = slice(min(compared, len(rows)))
    null = np.array([(scores(inside, prompts[few], tokens, editor(vector)) - before[few]).mean() for vector in random])
    observed = float((after - before)[few].mean())
    sense = -1 if edit == "ablation" else 1
    return Tested(
        rows,
        before,
        after,
        effect(before, after, samples.groups[rows], seed=seed),
        null,
        len(prompts[few]),
        beyond_random(sense * observed, sense * null),
    )


def costs(
    inside: Inside, candidate: Candidate, prompts: Sequence[Prompt], clusters: Sequence[int], random: Floats
) -> dict[str, Cost]:
    """By edit, the loss on the prompts' answers; `random` holds one direction for control, or none."""
    before = losses(inside, prompts)
    found = {}
    for edit, editor in editors(candidate).items():
        own, *control = (
            effect(before, losses(inside, prompts, editor(vector)), clusters)
            for vector in (candidate.vector, *random[:1])
        )
        found[edit] = Cost(own, float(before.mean()), control[0] if control else None)
    return found
