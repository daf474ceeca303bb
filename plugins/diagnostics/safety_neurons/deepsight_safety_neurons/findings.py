"""What was measured as findings, and one conclusion for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Effect, RefusalTokens
from numpy.typing import NDArray

from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval
from deepsight_safety_neurons.replacing import Mask
from deepsight_safety_neurons.scores import Floats, Scores, enrichment

SCORE = "log-odds"
DRAWS = 1000
"""Exchanges of neurons between layers behind null bands."""
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""


@dataclass(frozen=True, eq=False)
class Tested:
    """Refusal scores of held-out samples with the highest neurons replaced."""

    size: int
    """Neurons that are replaced."""
    neurons: int
    """Of so many."""
    rows: tuple[NDArray[np.int64], ...]
    """Of the positive and of the negative side."""
    harmful: Effect
    harmless: Effect
    every: Effect
    """Of all neurons, on the positive side."""
    before: float
    null: Floats
    """The mean change under each draw of random neurons, on `compared` positive samples."""
    compared: int
    observed: float
    """That of the highest neurons on the same samples."""
    p: float
    """One-sided: how often random neurons lower those samples' mean score as much."""

    @property
    def needed(self) -> bool:
        return self.harmful.value < 0 and self.harmful.p <= SIGNIFICANT and self.p <= SIGNIFICANT

    @property
    def part(self) -> float | None:
        """Of what replacing all neurons does, the part that these do; None where that does not lower the score."""
        return self.harmful.value / self.every.value if self.every.high < 0 else None


def causal(tested: Tested, ids: Sequence[str]) -> Iterator[Finding]:
    """What the model does with the neurons replaced. One claim is tested, on the harmful side; the rest is
    what it costs."""
    low, high = percentile_interval(tested.null)
    what = f"{tested.size} of {tested.neurons} neurons replaced"
    yield Finding(
        name="refusal score of harmful prompts with top neurons replaced",
        value=tested.harmful.value,
        low=tested.harmful.low,
        high=tested.harmful.high,
        null_low=low,
        null_high=high,
        p=tested.p,
        count=tested.harmful.count,
        unit=SCORE,
        headline=True,
        evidence="intervention",
        samples=tuple(ids[row] for row in tested.rows[0]),
        summary=f"{what}: mean score {tested.before:.2f} before. Null and p: {len(tested.null)} draws of as many "
        f"random neurons of the same layers, on {tested.compared} of the samples, where the top ones change it by "
        f"{tested.observed:+.2f}.",
    )
    yield Finding(
        name="refusal score of harmless prompts with top neurons replaced",
        value=tested.harmless.value,
        low=tested.harmless.low,
        high=tested.harmless.high,
        p=tested.harmless.p,
        count=tested.harmless.count,
        unit=SCORE,
        evidence="intervention",
        samples=tuple(ids[row] for row in tested.rows[1]),
        summary=f"{what}. p: sign flips over clusters.",
    )
    yield Finding(
        name="refusal score of harmful prompts with all neurons replaced",
        value=tested.every.value,
        low=tested.every.low,
        high=tested.every.high,
        p=tested.every.p,
        count=tested.every.count,
        unit=SCORE,
        evidence="intervention",
        summary="The most that the MLPs can do"
        + (f"; the top neurons do {tested.part:.0%} of it." if tested.part is not None else "."),
    )


def profile(found: Scores, chosen: Mask, control: Scores | None, seed: int) -> Iterator[Finding]:
    """Where the highest neurons lie, against an exchange of neurons between layers; and each layer as a whole."""
    values, null = enrichment(chosen, DRAWS, seed)
    spread = np.maximum(null.std(axis=1, keepdims=True), 1e-12)
    corrected = familywise_p((values[:, None] - 1)[:, 0] / spread[:, 0], (null - 1) / spread)
    for row, layer in enumerate(found.layers):
        low, high = percentile_interval(null[row])
        yield Finding(
            name="enrichment of top neurons",
            value=float(values[row]),
            null_low=low,
            null_high=high,
            p=float(corrected[row]),
            count=found.count,
            site=Site(kind="neuron", layer=layer),
            unit="times chance",
            summary=f"{int(chosen[row].sum())} of {chosen.shape[1]} neurons.",
        )
    what = "contrast of the sides" if control else "relative change between the models"
    for name, one in ((what, found), (f"control: {what}, shuffled labels", control)):
        for row, layer in enumerate(one.layers if one else ()):
            assert one is not None
            yield Finding(
                name=name,
                value=float(one.relative[row]),
                count=one.count,
                site=Site(kind="neuron", layer=layer),
                unit="standard deviations" if control else "root mean squares",
                evidence="control" if name.startswith("control") else "correlational",
            )


def listed(found: Scores, chosen: Mask, most: int) -> Iterator[Finding]:
    """The highest neurons by name, in multiples of the median neuron that scores at all."""
    positive = found.values[found.values > 0]
    middle = float(np.median(positive)) if positive.size else 1.0
    order = np.argsort(-found.values.ravel(), kind="stable")[:most]
    for row, unit in zip(*np.unravel_index(order, found.values.shape), strict=True):
        if chosen[row, unit] and found.values[row, unit] > 0:
            yield Finding(
                name="score of a neuron",
                value=float(found.values[row, unit] / middle),
                count=found.count,
                site=Site(kind="neuron", layer=found.layers[row], unit=int(unit)),
                unit="medians",
            )


def conclusion(found: Scores, chosen: Mask, tested: Tested, tokens: RefusalTokens, two: bool) -> str:
    counts = chosen.sum(axis=1)
    most = int(np.argmax(counts))
    told = (
        f"Of the {tested.size} neurons that {'changed most between the models' if two else 'tell the sides apart best'}"
        f", layer {found.layers[most]} holds the most ({counts[most] / counts.sum():.0%})"
    )
    if two and (same := [layer for layer, moved in zip(found.layers, found.relative, strict=True) if moved == 0]):
        told += f"; layers without any change: {', '.join(map(str, same))}"
    low, high = percentile_interval(tested.null)
    change = (
        f"the refusal score of harmful prompts goes by {tested.harmful.value:+.2f} when they are replaced "
        f"(random neurons of the same layers: {low:+.2f} to {high:+.2f})"
    )
    if two and not found.values.any():
        return "The two models have the same activations: no neuron changed, and nothing was learnt about refusal."
    if not tokens.learnt:
        return f"{told}. The model hardly refuses, so no neurons can be needed for it: {change}."
    if not tested.needed:
        return f"{told}. No causal safety neurons: {change}."
    part = "" if tested.part is None else f", {tested.part:.0%} of what replacing all neurons does"
    return f"{told}. Refusal needs them: {change}{part}."
