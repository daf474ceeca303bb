"""The component: who writes a refusal, and does it go when they are silenced?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from deepsight_causal import Gaps, RefusalTokens, answer_tokens, cases, gaps, refusal_tokens, scores
from pydantic import Field

from deepsight_core.change import verdict_change
from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Token, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_logit_attribution.findings import (
    behaviour_finding,
    conclusion,
    head_map,
    neuron_findings,
    part_findings,
    share_findings,
    silenced_findings,
    total_finding,
)
from deepsight_logit_attribution.silencing import Silenced, neurons_beside, silence, silenced
from deepsight_logit_attribution.study import Floats, Ints, Study, study

FEWEST = 5
"""Clusters of refused, and of other, samples without which they are not compared."""


class LogitAttribution(Diagnostic):
    """Which layers, heads and neurons write a refusal: their direct effects on the logits, and what silencing does.

    Direct logit attribution after Elhage et al. (2021) and Wang et al. (2022, arXiv:2211.00593).
    """

    name = "logit-attribution"
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    heads: int = Field(8, ge=0)
    """How many heads are silenced together; 0 for none."""
    neurons: int = Field(20, ge=0)
    """How many neurons are looked for, and silenced together; 0 for none."""
    draws: int = Field(19, ge=1)
    """Random sets of heads, and of neurons, that are silenced for comparison; the smallest p is 1 / (draws + 1)."""
    asked: int = Field(24, ge=1)
    """Most samples on which parts are silenced."""
    repeat: bool = True
    """Ask these samples again with the heads silenced, where silencing them shows an effect."""
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
            answer = answer_tokens(evidence, inside, refusal, self.refused)
            found = study(these, inside, refusal, answer, self.neurons, self.seed)
            one = evidence.contrast_by.partition(":")[2] or evidence.contrast_by
            what = f"{one} less other samples"
            total = self._gaps(found.total, these.y, these.groups)
            parts = self._gaps(found.effects, these.y, these.groups)
            tests = list(self._tests(found, refusal, inside))
            conduct = list(self._behaviour(found, refusal))
            drawn = head_map(found, parts, what)
            findings = [total_finding(total, what)]
            for kind, test in tests:
                findings += silenced_findings(test, kind, self._predicted(found, test))
            findings += self._again(evidence, inside, found, tests)
            findings += [*share_findings(found, parts, total), *part_findings(found, parts, what)]
            if found.neurons:
                rows = found.report
                findings += neuron_findings(
                    found, self._gaps(found.of_neurons, these.y[rows], these.groups[rows]), what
                )
            return Diagnosis(
                diagnostic=self.name,
                summary=conclusion(found, total, parts, refusal, tests, one),
                findings=(*findings, *conduct),
                table={
                    id: {"refusal less answer logits": float(v)} for id, v in zip(these.ids, found.total, strict=True)
                },
                figures=(drawn,) if drawn else (),
                caveats=tuple(_caveats(found, refusal, answer, self.permutations)),
            )

    def _gaps(self, values: Floats, y: Ints, groups: Ints) -> Gaps:
        return gaps(values, y, groups, permutations=self.permutations, resamples=self.resamples, seed=self.seed)

    def _tests(self, found: Study, refusal: RefusalTokens, inside: Inside) -> Iterator[tuple[str, Silenced]]:
        """Silences what the one half found, on positive samples of the other."""
        rows = self._held_out(found)
        prompts = found.cases.asked(rows)
        before = scores(inside, prompts, refusal)
        heads = tuple(found.sites[number] for number in found.columns("head"))
        chosen = (
            ("heads", found.raising_heads(self.heads), heads),
            ("neurons", found.raising, neurons_beside(found.raising, inside.geometry)),
        )
        for kind, sites, everywhere in chosen:
            if sites:
                edited = partial(scores, inside, prompts, refusal)
                clusters = found.cases.groups[rows]
                yield kind, silenced(sites, everywhere, before, edited, clusters, self.draws, self.seed)

    def _held_out(self, found: Study) -> Ints:
        """Positive rows of the half that chose nothing."""
        rows = [row for row in found.report if found.cases.y[row] == 1]
        return found.cases.drawn(rows, self.asked)

    def _predicted(self, found: Study, one: Silenced) -> float:
        """Mean direct effect, on the same samples, of the parts that are silenced."""
        rows = self._held_out(found)
        columns = {site: found.effects[rows, number] for number, site in enumerate(found.sites)}
        places = np.searchsorted(found.report, rows)
        columns |= {site: found.of_neurons[places, number] for number, site in enumerate(found.neurons)}
        return sum(float(columns[site].mean()) for site in one.sites)

    def _again(
        self, evidence: Evidence, inside: Inside, found: Study, tests: Sequence[tuple[str, Silenced]]
    ) -> Iterator[Finding]:
        """Whether the answers change, where the score does."""
        for kind, one in tests:
            if self.repeat and evidence.again and one.confirmed:
                ids = [found.cases.ids[row] for row in self._held_out(found)]
                repeat = evidence.again(f"silenced {kind}", inside.edited(silence(one.sites)), ids)
                yield behaviour_finding(
                    verdict_change(repeat, self.refused.partition(":")[2], evidence.judge, ids), kind
                )

    def _behaviour(self, found: Study, refusal: RefusalTokens) -> Iterator[Finding]:
        """The same of what the model did: refused against other samples, whatever their label."""
        known = np.array(
            [row for row, refused in enumerate(found.cases.refused) if refused is not None], dtype=np.int64
        )
        y = np.array([bool(found.cases.refused[row]) for row in known], dtype=np.int64)
        clusters = [len(set(found.cases.groups[known[y == side]])) for side in (0, 1)]
        if refusal.learnt and min(clusters) >= FEWEST:
            parts = self._gaps(found.effects[known], y, found.cases.groups[known])
            yield from part_findings(found, parts, "refused less other samples", "direct effect where refused")


def _caveats(found: Study, refusal: RefusalTokens, answer: Sequence[Token], permutations: int) -> Iterator[str]:
    yield (
        "A direct effect leaves out what a part does by way of later ones: a part that only gates others shows none. "
        "Silencing counts both."
    )
    yield (
        f"p values of direct effects are corrected for the {len(found.sites)} parts looked at, and for the "
        f"{len(found.neurons)} neurons (largest gap in standard deviations under {permutations} permutations)."
    )
    yield (
        "Heads and neurons were chosen on one half of the clusters; silencing, and neurons, are reported on the other. "
        "The profile and the map use all samples."
    )
    yield (
        f"Refusal tokens: {', '.join(map(repr, refusal.texts))}. "
        f"Answer tokens: {', '.join(repr(str(token)) for token in answer)}."
    )
    yield f"The parts add up to the model's own difference of logits to {found.error:.1e}."
    if found.capped:
        yield "The model caps its logits: the parts add up to the difference before the cap."
    if found.absent:
        places = ", ".join(found.absent)
        reasons = "; ".join(dict.fromkeys(found.absent.values()))
        yield f"Not told apart: {places} ({reasons})."
