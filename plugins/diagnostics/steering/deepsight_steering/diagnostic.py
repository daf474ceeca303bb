"""The component: fits the direction on one half of the samples, and doses the other half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from deepsight_causal import (
    Cases,
    RefusalTokens,
    at_random,
    cases,
    difference_of_means,
    neutral_prompts,
    refusal_tokens,
)
from pydantic import Field, model_validator

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, folds, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Positions, Want
from deepsight_core.protocol import Diagnosis, Site
from deepsight_steering import findings
from deepsight_steering.confirmation import confirmed
from deepsight_steering.doses import Ladder, degeneration
from deepsight_steering.response import Ints, Response, respond
from deepsight_steering.turning import failures

DEPTH = 0.6
"""Share of the blocks below the default layer: a place where published refusal directions work (arXiv:2406.11717)."""
NEUTRAL = 20
"""Neutral texts whose loss is followed over the doses."""

_POSITIONS: dict[str, Positions] = {"last": Last(), "end-of-instruction": EndOfInstruction()}


class Steering(Diagnostic):
    """How much of a direction turns a model's answers, and what does that dose break?

    A difference of means is added in several doses (Turner et al. 2023, arXiv:2308.10248; Rimsky et al. 2023,
    arXiv:2312.06681). The positive side of the run's contrast is what should be refused.
    """

    name = "steering"
    along: str | None = None
    """The direction: mean of the samples that this selector holds for (`label:NAME`, `verdict:refused`) less that of
    the others; None for the run's contrast."""
    layer: int | None = None
    """The block at whose input the direction is read and added, from 0; None for the one at 60 % of the depth."""
    position: Literal["last", "end-of-instruction"] = "last"
    """Where the direction is read; it is added at every token."""
    doses: tuple[float, ...] = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
    """Ascending, in units of the difference of the two means; with 0, and something on either side."""
    ask: int = Field(24, ge=2)
    """Held-out samples a side, at most."""
    randoms: int = Field(10, ge=5)
    """Random directions of the same length behind null bands and p values."""
    compared: int = Field(6, ge=2)
    """Samples a side that random directions are measured on."""
    written: int = Field(6, ge=1)
    """Samples a side that answers are written for under every dose."""
    tokens: int = Field(24, ge=4)
    """Length of those answers."""
    breaks: float = Field(0.5, gt=0)
    """Rise of the loss on neutral text, in nats a token, that counts as collapse."""
    behaviour: bool = True
    """Ask held-out samples again under the dose that turns half of the failures, and have the answers judged."""
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    seed: int = 0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if list(self.doses) != sorted(set(self.doses)) or 0.0 not in self.doses[1:-1]:
            raise ValueError("doses must ascend, with 0 and something on either side of it")
        return self

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [self._want(geometry)]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            given = cases(evidence, self.refused)
            tokens = refusal_tokens(evidence, inside, self.refused)
            half = folds(given.y, given.groups, 2, self.seed)
            ladder, fitted_on, share = self._ladder(evidence, acts, given, np.flatnonzero(half == 0), inside.geometry)
            random = at_random(ladder.vector, self.randoms, self.seed)
            ends = findings.ends(evidence.contrast_by)
            positive, negative = (
                respond(inside, given, name, rows, tokens, ladder, random, self.compared)
                for name, rows in zip(ends, self._sides(given, half), strict=True)
            )
            neutral = ladder.losses(inside, neutral_prompts()[:NEUTRAL])
            control = ladder.along(random[0]).losses(inside, neutral_prompts()[:NEUTRAL])
            worn = degeneration(
                inside,
                ladder,
                [prompt for side in (positive, negative) for prompt in given.asked(side.rows[: self.written])],
                self.tokens,
            )
            kinds = [
                failures(given, positive, negative, positive.doses, neutral.mean(axis=0), kind)
                for kind in ("not refused", "refused")
            ]
            responses = (positive, negative)
            changes, missing = (
                confirmed(evidence, inside, given, responses, ladder, kinds, self.refused.partition(":")[2], self.seed)
                if self.behaviour
                else ([], ["Nobody was asked again (behaviour = false): only the first token's score was followed."])
            )
            where = Site(kind="resid_in", layer=ladder.layer, position=self.position)
            found = [
                *findings.responses(responses, where, self.seed),
                *findings.costs(ladder, neutral, control, worn, self.breaks, where),
                *findings.turning(kinds, ends, where),
                *findings.behaviour(changes, where),
            ]
            return Diagnosis(
                diagnostic=self.name,
                summary=findings.conclusion(found, responses, where),
                findings=(findings.described(share, fitted_on, where, self.along or evidence.contrast_by), *found),
                table=findings.table(responses, given, kinds),
                figures=findings.figures(responses, neutral, control, worn),
                caveats=(*self._caveats(evidence, tokens, fitted_on, responses), *missing),
            )

    def _want(self, geometry: Geometry) -> Want:
        layer = int(DEPTH * geometry.layers) if self.layer is None else self.layer
        return Want(site="resid_in", layers=(layer,), positions=_POSITIONS[self.position])

    def _ladder(
        self, evidence: Evidence, acts: Acts, given: Cases, rows: Ints, geometry: Geometry
    ) -> tuple[Ladder, int, float]:
        """The direction with its doses, on how many samples it was fitted, and its length in mean activations."""
        contrast = evidence.contrast(self.along)
        value = dict(zip(contrast.ids, contrast.y, strict=True))
        ids = [given.ids[row] for row in rows if given.ids[row] in value]
        y = np.array([value[id] for id in ids], dtype=np.int64)
        if len(np.unique(y)) < 2:
            raise DiagnosticError(
                f"the half of the samples to fit on has one side of {contrast.name!r} only; choose another selector"
            )
        want = self._want(geometry)
        states = vectors(acts, want, ids)[:, 0]
        vector = difference_of_means(states, y)
        length = float(np.linalg.norm(vector))
        if not length:
            raise DiagnosticError("both sides have the same activations there: name another layer or position")
        assert want.layers is not None
        return (
            Ladder(vector, want.layers[0], self.doses),
            len(ids),
            length / float(np.linalg.norm(states, axis=1).mean()),
        )

    def _sides(self, given: Cases, half: Ints) -> list[Ints]:
        return [given.drawn(np.flatnonzero((half == 1) & (given.y == label)), self.ask) for label in (1, 0)]

    def _caveats(
        self, evidence: Evidence, tokens: RefusalTokens, fitted_on: int, responses: Sequence[Response]
    ) -> list[str]:
        told = [
            f"The direction was fitted on {fitted_on} samples of one half of the clusters; all doses were given to "
            f"samples of the other half ({', '.join(f'{len(side.rows)} {side.name}' for side in responses)}). The "
            "layer was fixed in advance.",
            f"Random directions were measured on {self.compared} samples a side.",
            "A sample turns where the log-odds that its answer opens with a refusal cross 0. Opening tokens: "
            + ", ".join(repr(text) for text in tokens.texts)
            + ".",
            f"Answers of {self.tokens} tokens were written for {self.written} samples a side and dose.",
        ]
        if not tokens.learnt:
            told.append(
                f"The model refused {tokens.refused} of {tokens.refused + tokens.complied} times, too rarely to learn "
                "how it refuses: the usual English openings stand in."
            )
        if left := evidence.contrast().left_out:
            told.append(f"{left} samples have no value for {evidence.contrast_by!r} and were left out.")
        return told
