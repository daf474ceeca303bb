"""Overlap as findings: the whole, the sweep, the layers, the units that hold what is coupled, and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepsight_core.crossfit import familywise_p
from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import Interval, percentile_interval, permutation_p
from deepsight_core.weights import Importance
from deepsight_spin.cohorts import FIRST, GENERAL, SECOND
from deepsight_spin.overlap import Bools, Floats, Overlap, Scores, exchanged, jackknife, left_out
from deepsight_spin.units import Unit, counted, kind

WHOLE, LAYER = "overlap in all layers", "overlap"


@dataclass(frozen=True)
class Measured:
    """The overlap at one share, with what is needed to judge it."""

    share: float
    seen: Overlap
    without: tuple[list[Overlap], list[Overlap]]
    null: tuple[Overlap, ...] = ()

    def interval(self, rows: Bools | slice = slice(None)) -> Interval | None:
        """Jackknife interval of the coefficient, within [0, 1]."""
        value = self.seen.of(rows).coefficient
        without = [[o.of(rows).coefficient for o in side] for side in self.without]
        if value is None or any(v is None for side in without for v in side):
            return None
        found = jackknife(value, [[v for v in side if v is not None] for side in without])
        return found and (max(found[0], 0.0), min(found[1], 1.0))

    def band(self, rows: Bools | slice = slice(None)) -> Floats:
        """The coefficient under exchange, NaN where it has none."""
        values = [overlap.of(rows).coefficient for overlap in self.null]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def measure(scores: Scores, share: float, draws: int, seed: int) -> Measured:
    """`draws` exchanges of blocks between the cohorts; 0 for none."""
    return Measured(
        share,
        scores.tops(FIRST, SECOND, share).overlap,
        left_out(scores, FIRST, SECOND, share),
        tuple(exchanged(scores, FIRST, SECOND, share, draws, seed)),
    )


def whole(main: Measured, examples: int) -> Finding:
    """The headline: is the overlap smaller or larger than that of two random halves of all examples?"""
    value, band = main.seen.coefficient, main.band()
    found = Finding(name=WHOLE, value=value, count=examples, headline=True, unit="share", summary=_meaning(main.share))
    if value is None or np.isnan(band).any():
        return found
    low, high = main.interval() or (None, None)
    null_low, null_high = percentile_interval(band)
    p = permutation_p(value, band, two_sided=True)
    more = {"low": low, "high": high, "null_low": null_low, "null_high": null_high, "p": p}
    return found.model_copy(update=more)


def sweep(measured: Sequence[Measured], examples: int) -> list[Finding]:
    """At each share: the coefficient, how many times chance it is, and the published ratio."""
    found = []
    for one in measured:
        low, high = one.interval() or (None, None)
        seen = one.seen
        expected, at = float(seen.expected.sum()), f"at q = {one.share:g}"
        told = f"{int(seen.coupled.sum())} coupled weights; {expected:.3g} are expected blindly (hypergeometric)."
        value = seen.coefficient
        found += [
            Finding(name=f"overlap {at}", value=value, low=low, high=high, count=examples, unit="share", summary=told),
            Finding(name=f"lift {at}", value=seen.lift, count=examples, unit="times chance", summary=told),
            Finding(
                name=f"coupling ratio {at}", value=seen.ratio, count=examples, summary="As published: of all weights."
            ),
        ]
    return found


def layers(scores: Scores, main: Measured, examples: int) -> list[Finding]:
    """The profile; p values are corrected for looking at every layer, and two-sided."""
    numbers = np.unique(scores.layers)
    known: list[tuple[int, Finding, Floats]] = []
    for layer in numbers:
        rows = scores.layers == layer
        value, band = main.seen.of(rows).coefficient, main.band(rows)
        if value is None or np.isnan(band).any():
            continue
        low, high = main.interval(rows) or (None, None)
        null_low, null_high = percentile_interval(band)
        finding = Finding(
            name=LAYER,
            value=value,
            low=low,
            high=high,
            null_low=null_low,
            null_high=null_high,
            count=examples,
            unit="share",
            site=Site(kind="weights", layer=int(layer)),
        )
        known.append((int(layer), finding, band))
    if not known:
        return []
    spread = np.array([max(float(band.std()), 1e-12) for _, _, band in known])
    centre = np.array([float(band.mean()) for _, _, band in known])
    observed = np.abs(np.array([finding.value for _, finding, _ in known], dtype=np.float64) - centre) / spread
    null = np.abs(np.stack([band for _, _, band in known]) - centre[:, None]) / spread[:, None]
    corrected = familywise_p(observed, null)
    return [finding.model_copy(update={"p": float(p)}) for (_, finding, _), p in zip(known, corrected, strict=True)]


def controls(scores: Scores, share: float) -> list[Finding]:
    """The overlap of each cohort with answers in general: what any two kinds of text share."""
    return [
        Finding(
            name=f"control: {cohort} with general",
            value=scores.tops(cohort, GENERAL, share).overlap.coefficient,
            unit="share",
            evidence="control",
            summary=f"Overlap coefficient of the {cohort} cohort's weights with those that matter in general.",
        )
        for cohort in (FIRST, SECOND)
    ]


def specific(coupled: Sequence[Bools], left: Sequence[Bools]) -> Finding:
    """How many of the coupled weights do not matter in general."""
    before, after = (sum(int(mask.sum()) for mask in masks) for masks in (coupled, left))
    return Finding(
        name="coupled beyond general",
        value=after / before if before else None,
        unit="share of coupled",
        summary=f"{after} of {before} coupled weights are not among those that matter most to general answers.",
    )


def units(importance: Importance, chosen: Sequence[Bools], most: int) -> list[Finding]:
    """The neurons and heads that hold the most coupled weights."""
    found: Counter[Unit] = counted(importance, chosen)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0].layer, item[0].number))[:most]
    return [
        Finding(
            name=f"coupled weights of a {unit.kind}",
            value=count,
            unit="weights",
            site=Site(
                kind=unit.kind,
                layer=unit.layer,
                unit=unit.number if unit.kind == "neuron" else None,
                head=unit.number if unit.kind == "head" else None,
                position=None if unit.expert is None else f"expert {unit.expert}",
            ),
            summary=f"In {unit.owner}.",
        )
        for unit, count in ranked
    ]


def map_of_kinds(scores: Scores, seen: Overlap) -> Heatmap:
    """The overlap coefficient by kind of matrix and layer."""
    kinds = [kind(matrix) for matrix in scores.importance.matrices]
    rows, columns = tuple(dict.fromkeys(kinds)), np.unique(scores.layers)
    of_kind = {row: np.array([one == row for one in kinds]) for row in rows}
    values = tuple(
        tuple(seen.of(of_kind[row] & (scores.layers == layer)).coefficient for layer in columns) for row in rows
    )
    return Heatmap(
        name="overlap by matrix",
        caption="Overlap coefficient of the two cohorts' most important weights, by matrix and layer.",
        x="layer",
        rows=rows,
        columns=tuple(str(layer) for layer in columns),
        values=values,
        unit="share",
    )


def summary(headline: Finding, seen: Overlap) -> str:
    """What was seen, in sentences that claim no more."""
    if headline.value is None or headline.null_low is None or headline.null_high is None:
        return "No weight is selected: every matrix is too small for this share."
    shown = f"{headline.value:.1%}"
    if headline.low is not None:
        shown += f" [{headline.low:.1%}, {headline.high:.1%}]"
    low, high = headline.null_low, headline.null_high
    where = "fewer than" if headline.value < low else "more than" if headline.value > high else "as many as"
    return (
        f"Of the weights that matter most to the first cohort, {shown} are among those of the second: {where} two "
        f"random halves of all examples share ({low:.1%} to {high:.1%}), and {seen.lift:.3g} times what blind choice "
        "would give."
    )


def _meaning(share: float) -> str:
    return (
        f"|A ∩ B| / min(|A|, |B|) of the top {share:g} of every matrix; the null exchanges blocks of examples between "
        "the cohorts."
    )
