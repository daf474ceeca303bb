"""The component: draws the examples, has their importance measured, and concludes in either mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_core.weights import Importance, Part
from deepsight_spin import cohorts, findings, published
from deepsight_spin.cohorts import FIRST, GENERAL, SECOND, Cohorts
from deepsight_spin.masking import effects
from deepsight_spin.overlap import Bools, Overlap, Scores, partitions

PARTS: Mapping[str, tuple[Part, ...]] = {"mlp": ("mlp",), "attention": ("attention",), "all": ("attention", "mlp")}
DEEPER = 4
"""How many times more entries are kept than the largest share needs: leaving out or exchanging blocks moves entries up,
and those that were not kept cannot be seen to."""


class Spin(Diagnostic):
    """Do the weights that matter most to one kind of answers matter most to another kind as well?

    After SPIN (Qian et al. 2024, arXiv:2410.16672), as the DeepSight paper reports it (arXiv:2602.12092).
    """

    name = "spin"
    mode: Literal["corrected", "reference"] = "corrected"
    """corrected: overlap with an interval and a null, at several shares, by layer and unit. reference: the published
    rules and numbers."""
    first: str = "label:set=privacy"
    """Which samples show the first concern: a selector, `label:NAME`, `label:NAME=VALUE` or `verdict:LABEL`."""
    second: str = "label:set=fairness"
    """Which samples show the second."""
    general: str = "label:set=general"
    """Which samples are of no particular kind; corrected only."""
    part: Literal["mlp", "attention", "all"] = "mlp"
    """Whose weight matrices."""
    examples: int = Field(128, ge=1)
    """Examples of each cohort, at most."""
    share: float | None = Field(None, gt=0, lt=1)
    """How many of a matrix's weights count as its most important ones, as a share; None for 1e-4 (reference: 5e-7)."""
    shares: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3)
    """corrected only: the shares at which the overlap is shown besides."""
    raw: bool = False
    """corrected only: read prompt and answer without the chat template, as the reference always does."""
    subtract_general: bool = True
    """corrected only: weights that matter to general answers are neither counted in units nor masked."""
    units: int = Field(10, ge=0)
    """corrected only: how many neurons or heads to name."""
    mask: bool = False
    """corrected only: evaluate again with the coupled weights at zero, and with as many random ones."""
    blocks: int = Field(6, ge=3)
    """corrected only: parts into which each cohort is divided, for the interval and the null. Memory grows with it."""
    draws: int = Field(200, ge=20)
    """corrected only: exchanges of blocks behind the null."""
    seed: int = 0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.mask and self.mode == "reference":
            raise ValueError("mask needs mode = 'corrected': the reference has no masking")
        if not all(0 < share < 1 for share in self.shares):
            raise ValueError("shares must lie between 0 and 1")
        return self

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return ()

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            return (self._reference if self.mode == "reference" else self._correct)(evidence, inside)

    def _reference(self, evidence: Evidence, inside: Inside) -> Diagnosis:
        share = self.share or published.SHARE
        chosen = cohorts.published(evidence, {FIRST: self.first, SECOND: self.second}, self.examples, self.seed)
        importance = inside.importance(chosen.prompts, depth=share, parts=PARTS[self.part], raw=True, drop_first=True)
        scores = Scores(importance)
        overlap = scores.tops(FIRST, SECOND, share).overlap
        examples = sum(importance.examples.values())
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=published.summary(overlap, share),
            findings=tuple(published.findings(scores, overlap, examples)),
            caveats=(
                "The ratio cannot exceed the share of weights selected, and has neither an interval nor a null.",
                "Its 'neurons' are single weights.",
                f"Examples were drawn from {chosen.available[FIRST]} and {chosen.available[SECOND]} rows; published "
                "numbers rest on 1000 each.",
                *_empty(overlap, share),
                *_unanswered(chosen),
            ),
        )

    def _correct(self, evidence: Evidence, inside: Inside) -> Diagnosis:
        share = self.share or 1e-4
        shares = sorted({*self.shares, share})
        selectors = {FIRST: self.first, SECOND: self.second, GENERAL: self.general}
        chosen = cohorts.independent(evidence, selectors, self.examples, self.blocks, self.seed)
        importance = inside.importance(
            chosen.prompts,
            depth=min(1.0, DEEPER * shares[-1]),
            blocks=self.blocks,
            parts=PARTS[self.part],
            raw=self.raw,
        )
        scores = Scores(importance)
        count = len(chosen.prompts[FIRST])
        measured = {q: findings.measure(scores, q, self.draws if q == share else 0, self.seed) for q in shares}
        main = measured[share]
        headline = findings.whole(main, count)
        caveats = [*_empty(main.seen, share), *_unanswered(chosen), *self._few(count)]
        found = [headline, *findings.sweep(list(measured.values()), count), *findings.layers(scores, main, count)]
        coupled = scores.tops(FIRST, SECOND, share).coupled
        if GENERAL in chosen.prompts:
            found += findings.controls(scores, share)
            general = scores.cut(scores.totals(GENERAL), share)
            left = tuple(a & ~b for a, b in zip(coupled, general, strict=True))
            found.append(findings.specific(coupled, left))
            coupled = left if self.subtract_general else coupled
        else:
            caveats.append(
                f"Too few general samples ({self.general!r}): weights that matter to any answer count as coupled."
            )
        found += findings.units(importance, coupled, self.units)
        effect, why = self._masked(evidence, inside, importance, coupled)
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=findings.summary(headline, main.seen),
            findings=(*found, *effect),
            figures=(findings.map_of_kinds(scores, main.seen),),
            caveats=(*caveats, *why),
        )

    def _masked(
        self, evidence: Evidence, inside: Inside, importance: Importance, coupled: Sequence[Bools]
    ) -> tuple[list[Finding], list[str]]:
        """Findings of the masking experiment, and why there are none."""
        if not self.mask:
            return [], []
        if evidence.again is None:
            return [], ["Nothing was masked: this run evaluates nothing that could be asked again."]
        if not any(mask.any() for mask in coupled):
            return [], ["Nothing was masked: no weight is coupled."]
        return effects(evidence, inside, importance, coupled, self.seed), []

    def _few(self, count: int) -> list[str]:
        told = []
        if count < self.examples:
            told.append(f"Only {count} independent examples of each cohort, of {self.examples} asked for.")
        if partitions(self.blocks) < 40:
            told.append(f"{self.blocks} blocks can be exchanged in {partitions(self.blocks)} ways: p cannot be small.")
        return told


def _empty(overlap: Overlap, share: float) -> list[str]:
    """How many matrices select nothing, and why."""
    small = int((overlap.sizes * share < 1).sum())
    dry = int(((overlap.first == 0) | (overlap.second == 0)).sum()) - small
    told = []
    if small:
        told.append(f"{small} of {len(overlap.sizes)} matrices are too small for a share of {share:g}: none selected.")
    if dry > 0:
        told.append(f"{dry} of {len(overlap.sizes)} matrices got no gradient from a cohort (experts not reached).")
    return told


def _unanswered(chosen: Cohorts) -> list[str]:
    return [f"{chosen.unanswered} samples have no answer and were left out."] if chosen.unanswered else []
