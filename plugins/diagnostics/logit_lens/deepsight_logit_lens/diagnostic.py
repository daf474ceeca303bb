"""The component: the refusal log-odds at every layer, for the run's contrast and for what the model did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from deepsight_causal import Cases, Gaps, RefusalTokens, cases, gaps, refusal_tokens
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.evidence import Evidence
from deepsight_core.figures import Heatmap
from deepsight_core.inside import Acts, Geometry, Inside, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_logit_lens.findings import (
    candidate_findings,
    cohort_map,
    conclusion,
    decision,
    gap_findings,
    level_findings,
    passing_findings,
    step_map,
    table,
)
from deepsight_logit_lens.reading import Floats, Ints, Seen, by_step, candidates, read

FEWEST = 5
"""Clusters of refused, and of other, samples without which they are not compared."""


class LogitLens(Diagnostic):
    """At which layer a model begins to lean to refusing, read with its own final norm and head.

    The logit lens (nostalgebraist 2020) on the tokens that open a refusal; with `maps`, the tuned lens as well.
    """

    name = "logit-lens"
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    k: int = Field(10, ge=1)
    """How many of the likeliest tokens ranks and entropies are taken from."""
    looked: int = Field(16, ge=0)
    """Samples of either side whose likeliest tokens, and first steps, are looked at; these cost most. 0 for none."""
    steps: int = Field(4, ge=1)
    """Tokens of the answer in the map of steps."""
    mass: float = Field(0.1, gt=0, lt=1)
    """Probability of the refusal tokens from which a refusal counts as there."""
    maps: Path | None = None
    """A safetensors file with the affine maps of a tuned lens: `LAYER.weight` and `LAYER.bias`, added to the state."""
    permutations: int = Field(1000, ge=20)
    """Shuffled labellings behind null bands and p values."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return []  # which tokens refuse is known once there are answers

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            these = cases(evidence, self.refused)
            refusal = refusal_tokens(evidence, inside, self.refused)
            odds = read(inside, these.prompts, refusal)
            one = evidence.contrast_by.partition(":")[2] or evidence.contrast_by
            other = f"not {one}"
            what = f"{one} less {other} samples"
            sides = {one: np.flatnonzero(these.y == 1), other: np.flatnonzero(these.y == 0)}
            found = self._gaps(odds.odds, these.y, these.groups)
            decided = decision(odds, found)
            passing = list(passing_findings(odds, these, self.mass, one))
            findings = [decided, *gap_findings("gap of refusal log-odds", odds, found, what, headline=True), *passing]
            for name, rows in sides.items():
                findings += level_findings(name, odds, rows, these.groups, self.resamples, self.seed)
            findings += self._behaviour(odds, these, refusal)
            findings += self._candidates(inside, odds, these, refusal, sides)
            findings += self._tuned(inside, these, refusal, what)
            return Diagnosis(
                diagnostic=self.name,
                summary=conclusion(odds, found, decided, refusal, what, passing),
                findings=tuple(findings),
                table=table(odds, these, self.mass),
                figures=(cohort_map(odds, _cohorts(these, one, other)), *self._steps(inside, odds, these, refusal)),
                caveats=tuple(_caveats(odds, these, refusal, self.permutations)),
            )

    def _gaps(self, values: Floats, y: Ints, groups: Ints) -> Gaps:
        return gaps(values, y, groups, permutations=self.permutations, resamples=self.resamples, seed=self.seed)

    def _behaviour(self, odds: Seen, these: Cases, refusal: RefusalTokens) -> Iterator[Finding]:
        """Refused against other samples, whatever their label."""
        known, y = _judged(these)
        clusters = [len(set(these.groups[known[y == side]])) for side in (0, 1)]
        if refusal.learnt and min(clusters) >= FEWEST:
            found = self._gaps(odds.odds[known], y, these.groups[known])
            yield from gap_findings("gap where refused", odds, found, "refused less other samples")

    def _candidates(
        self, inside: Inside, odds: Seen, these: Cases, refusal: RefusalTokens, sides: dict[str, Ints]
    ) -> Iterator[Finding]:
        for name, rows in sides.items() if self.looked else ():
            chosen = these.drawn(rows, self.looked)
            seen = candidates(inside, these.asked(chosen), refusal, self.k)
            yield from candidate_findings(odds, seen, np.arange(len(chosen)), name, self.k)

    def _steps(self, inside: Inside, odds: Seen, these: Cases, refusal: RefusalTokens) -> Iterator[Heatmap]:
        """The first steps of refused and of other answers."""
        known, y = _judged(these)
        answered = np.array([bool(these.prompts[row].answer) for row in known], dtype=bool)
        sides = [these.drawn(known[answered & (y == side)], self.looked or None) for side in (1, 0)]
        if not self.looked or not all(len(rows) for rows in sides):
            return
        refused, others = (by_step(inside, these.asked(rows), refusal, self.steps) for rows in sides)
        counts = [int(np.isfinite(np.r_[refused, others][:, step, 0]).sum()) for step in range(self.steps)]
        enough = [s for s in range(self.steps) if all(np.isfinite(side[:, s, 0]).any() for side in (refused, others))]
        gap = np.array([np.nanmean(refused[:, s], axis=0) - np.nanmean(others[:, s], axis=0) for s in enough])
        yield step_map(odds.layers, gap, [counts[s] for s in enough])

    def _tuned(self, inside: Inside, these: Cases, refusal: RefusalTokens, what: str) -> Iterator[Finding]:
        if self.maps is None:
            return
        from deepsight_logit_lens.tuned import read_tuned, translators

        odds = read_tuned(inside, these.prompts, refusal, translators(self.maps, inside.geometry))
        found = self._gaps(odds.odds, these.y, these.groups)
        yield from gap_findings("gap under the tuned lens", odds, found, f"{what}, under the tuned lens")


def _judged(these: Cases) -> tuple[Ints, Ints]:
    """Rows with a scored verdict, and whether it is a refusal."""
    known = np.array([row for row, refused in enumerate(these.refused) if refused is not None], dtype=np.int64)
    return known, np.array([bool(these.refused[row]) for row in known], dtype=np.int64)


def _cohorts(these: Cases, one: str, other: str) -> dict[str, Ints]:
    refused = np.array([-1 if verdict is None else int(verdict) for verdict in these.refused])
    return {
        f"{side}, {did}": np.flatnonzero((these.y == y) & (refused == verdict))
        for side, y in ((one, 1), (other, 0))
        for did, verdict in (("refused", 1), ("answered", 0))
    }


def _caveats(odds: Seen, these: Cases, refusal: RefusalTokens, permutations: int) -> Iterator[str]:
    yield (
        "The lens reads every layer with the final norm and head. Early layers need not write in that basis: a gap of "
        "0 there does not say that the model does not know yet, and a decision layer is a latest one."
    )
    yield "What the lens reads is correlational: it does not say that later layers depend on it."
    yield (
        f"p values are corrected for the {len(odds.layers)} layers (largest gap in standard deviations under "
        f"{permutations} permutations)."
    )
    yield f"Refusal tokens: {', '.join(map(repr, refusal.texts))}. A refusal that opens otherwise is not seen."
    if unknown := sum(verdict is None for verdict in these.refused):
        yield f"{unknown} samples have no scored verdict: they are in the contrast, not among refused or answered ones."
