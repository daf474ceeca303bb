"""The causal test: what silencing the parts that were found does to the refusal, and what random parts of equal number
do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Effect, effect
from numpy.typing import NDArray

from deepsight_core.edits import Edit, Scale
from deepsight_core.inside import Geometry
from deepsight_core.protocol import Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scores = Callable[[Sequence[Edit]], Floats]
"""Refusal scores of the same prompts under edits."""


@dataclass(frozen=True)
class Silenced:
    """What silencing some parts did to the refusal score of some prompts."""

    sites: tuple[Site, ...]
    effect: Effect
    random: tuple[float, ...]
    """Mean effects of random parts of the same kind and number."""

    @property
    def p(self) -> float:
        """One-sided: the share of random sets that lower the score at least as much, this one counted."""
        return (1 + sum(value <= self.effect.value for value in self.random)) / (1 + len(self.random))

    @property
    def confirmed(self) -> bool:
        """Whether the score falls, and by more than every random set makes it fall."""
        return self.effect.high < 0 and self.effect.value < min(self.random, default=0.0)


def silence(sites: Sequence[Site]) -> tuple[Edit, ...]:
    """Sets heads or neurons to zero at every token."""
    by_layer: dict[tuple[str, int], list[int]] = {}
    for site in sites:
        number = site.head if site.kind == "head" else site.unit
        by_layer.setdefault((site.kind, site.layer or 0), []).append(number or 0)
    return tuple(
        Scale(0.0, site="head" if kind == "head" else "neuron", layers=(layer,), units=tuple(sorted(units)))
        for (kind, layer), units in by_layer.items()
    )


def silenced(
    sites: Sequence[Site],
    everywhere: Sequence[Site],
    before: Floats,
    scores: Scores,
    clusters: Ints,
    draws: int,
    seed: int,
) -> Silenced:
    """`everywhere` are the parts that random sets are drawn from, those under test left out; `before` are the scores
    without an edit."""
    after = scores(silence(sites))
    tested = set(sites)
    rest = [site for site in everywhere if site not in tested]
    random = tuple(
        float((scores(silence(chosen)) - before).mean()) for chosen in _at_random(rest, len(sites), draws, seed)
    )
    return Silenced(tuple(sites), effect(before, after, clusters, seed=seed), random)


def neurons_beside(found: Sequence[Site], geometry: Geometry) -> tuple[Site, ...]:
    """All neurons of the layers in which some were found: later layers write more, so others would be no match."""
    layers = sorted({site.layer or 0 for site in found})
    return tuple(Site(kind="neuron", layer=layer, unit=unit) for layer in layers for unit in range(geometry.neurons))


def _at_random(rest: Sequence[Site], count: int, draws: int, seed: int) -> Iterator[tuple[Site, ...]]:
    rng = np.random.default_rng(seed)
    for _ in range(draws if len(rest) >= count else 0):
        yield tuple(rest[number] for number in rng.choice(len(rest), size=count, replace=False))
