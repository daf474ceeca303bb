"""Twins: a prompt of each class that belong together, alike but for what makes the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepsight_core.evidence import Contrast, Evidence
from deepsight_core.inside import Prompt


@dataclass(frozen=True)
class Twins:
    """One pair."""

    positive: Prompt
    negative: Prompt
    group: int
    """Its cluster, as the contrast numbers it."""


def twins(evidence: Evidence, contrast: Contrast) -> tuple[Twins, ...]:
    """The pairs among the clusters of a contrast, ordered by sample id: of a cluster with several samples of a class,
    the first; clusters of one class have none."""
    prompts = {prompt.id: prompt for prompt in evidence.prompts}
    found: dict[int, dict[int, Prompt]] = {}
    for row in np.argsort(contrast.ids, kind="stable"):
        found.setdefault(int(contrast.groups[row]), {}).setdefault(int(contrast.y[row]), prompts[contrast.ids[row]])
    return tuple(Twins(pair[1], pair[0], group) for group, pair in found.items() if len(pair) == 2)


def drawn(pairs: Sequence[Twins], count: int, seed: int = 0) -> tuple[Twins, ...]:
    """At most `count` of the pairs, at random, in their order."""
    chosen = sorted(np.random.default_rng(seed).permutation(len(pairs))[:count])
    return tuple(pairs[place] for place in chosen)
