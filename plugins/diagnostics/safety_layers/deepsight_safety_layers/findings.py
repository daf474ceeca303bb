"""What was measured as findings, and one conclusion for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Effect, RefusalTokens

from deepsight_core.protocol import Finding, Site
from deepsight_core.scoring import Comparison
from deepsight_core.statistics import percentile_interval
from deepsight_safety_layers.angles import Angles, Layered
from deepsight_safety_layers.skipping import Tried, Window

DEGREES, SCORE = "degrees", "log-odds"
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The chosen window, on samples that it was not chosen on."""

    window: Window
    rows: tuple[np.ndarray, np.ndarray]
    """Of the positive and of the negative side."""
    harmful: Effect
    harmless: Effect
    loss: Effect
    """Of neutral answers."""
    score_harmful: float
    """Mean refusal score with all blocks in place."""
    score_harmless: float
    own: Tried
    """On as few samples as the controls."""
    controls: tuple[Tried, ...]
    p: float
    """One-sided: how often another window lowers the positive side's score as much."""

    @property
    def needed(self) -> bool:
        """Whether refusal falls without it, and more than without other windows, and more than the harmless side."""
        fell = self.harmful.value < 0 and self.harmful.p <= SIGNIFICANT and self.p <= SIGNIFICANT
        return fell and self.harmful.value < self.harmless.value


def causal(tested: Tested, ids: Sequence[str]) -> Iterator[Finding]:
    """What the model does without the chosen window. One claim is tested, on the harmful side; the rest is
    what it costs."""
    where = _window(tested.window)
    low, high = percentile_interval([one.harmful for one in tested.controls])
    yield Finding(
        name="refusal score of harmful prompts without the chosen window",
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
        summary=f"{where} left out: mean score {tested.score_harmful:.2f} before. Null and p: {len(tested.controls)} "
        f"other windows of the same length on {min(len(tested.rows[0]), tested.harmful.count)} samples at most, where "
        f"the chosen one changes it by {tested.own.harmful:+.2f}.",
    )
    yield Finding(
        name="refusal score of harmless prompts without the chosen window",
        value=tested.harmless.value,
        low=tested.harmless.low,
        high=tested.harmless.high,
        p=tested.harmless.p,
        count=tested.harmless.count,
        unit=SCORE,
        headline=True,
        evidence="intervention",
        samples=tuple(ids[row] for row in tested.rows[1]),
        summary=f"{where} left out: mean score {tested.score_harmless:.2f} before. p: sign flips over clusters.",
    )
    yield Finding(
        name="loss on neutral text without the chosen window",
        value=tested.loss.value,
        low=tested.loss.low,
        high=tested.loss.high,
        p=tested.loss.p,
        count=tested.loss.count,
        unit="nats a token",
        evidence="intervention",
        summary="What leaving it out costs.",
    )


def conducted(side: str, window: Window, match: Window, changes: Sequence[Comparison]) -> Iterator[Finding]:
    """The change of one side's refusal rate without the chosen window, and without its match."""
    for own, change, at in zip((True, False), changes, (window, match), strict=True):
        yield Finding(
            name=f"{'' if own else 'control: '}refusals of {side} samples without {'the chosen' if own else 'another'} "
            "window",
            value=change.difference,
            low=change.low,
            high=change.high,
            p=change.p,
            count=change.count,
            unit="share of answers",
            headline=own,
            evidence="intervention" if own else "control",
            summary=f"{_window(at)} left out: {change.a or 0:.0%} refused before, {change.b or 0:.0%} after."
            + ("" if own else " The window whose cost on neutral questions is nearest to the chosen one's."),
        )


def angle_profile(found: Angles, layers: Sequence[int], count: int) -> Iterator[Finding]:
    """The published gap, its corrected form, and the energy coefficient, over the layers."""
    told: tuple[tuple[str, Layered, str, str], ...] = (
        ("angle gap, corrected for spread", found.corrected, DEGREES, ""),
        ("angle gap, as published", found.published, DEGREES, "Also moved by how diverse either class is."),
        ("energy coefficient", found.energy, "", "How much shorter distances are within a class than between."),
    )
    for name, one, unit, summary in told:
        for column, layer in enumerate(layers):
            triple = (
                f"N-N {found.harmless[column]:.1f}, M-M {found.harmful[column]:.1f}, N-M {found.between[column]:.1f} "
                "degrees."
            )
            yield Finding(
                name=name,
                value=float(one.value[column]),
                low=float(one.low[column]),
                high=float(one.high[column]),
                null_low=float(one.null_low[column]),
                null_high=float(one.null_high[column]),
                p=float(one.p[column]),
                count=count,
                site=Site(kind="resid_out", layer=layer, position="last"),
                unit=unit,
                summary=triple if unit == DEGREES else summary,
            )


def skip_profile(found: Sequence[Tried], name: str, count: int) -> Iterator[Finding]:
    """What each block or window does when it is left out, by its first block."""
    for one in found:
        where = Site(kind="block", layer=one.window[0])
        for what, value, unit in (
            (f"{name}: refusal score, harmful", one.harmful, SCORE),
            (f"{name}: refusal score, harmless", one.harmless, SCORE),
            (f"{name}: KL on neutral questions", one.divergence, "nats"),
        ):
            yield Finding(name=what, value=value, count=count, site=where, unit=unit, evidence="intervention")


def conclusion(
    found: Angles, layers: Sequence[int], tested: Tested, rates: Sequence[Finding], tokens: RefusalTokens
) -> str:
    apart = [layer for layer, p in zip(layers, found.corrected.p, strict=True) if p <= SIGNIFICANT]
    told = (
        f"Harmful requests part from harmless ones from layer {apart[0]} on (corrected for spread and for all layers). "
        if apart
        else "Harmful requests lie no further from harmless ones than shuffled ones do, at any layer. "
    )
    change = f"the refusal score of harmful prompts goes by {tested.harmful.value:+.2f}, of harmless ones by "
    change += f"{tested.harmless.value:+.2f}"
    if not tokens.learnt:
        where = _window(tested.window)
        return f"{told}The model hardly refuses, so no layers can be needed for it (without {where}, {change})."
    refusals = next((rate for rate in rates if rate.name.startswith("refusals of positive")), None)
    if refusals is not None:
        change += f"; refusals: {refusals.summary.partition(': ')[2].rstrip('.')}"
    held = refusals is None or (refusals.value is not None and refusals.value < 0 and (refusals.p or 0) <= SIGNIFICANT)
    verdict = (
        "Refusal needs"
        if tested.needed and held
        else "No window is needed for refusal more than others; the best candidate is"
    )
    return f"{told}{verdict} {_window(tested.window)}: without, {change}."


def _window(window: Window) -> str:
    return f"block {window[0]}" if len(window) == 1 else f"blocks {window[0]} to {window[-1]}"
