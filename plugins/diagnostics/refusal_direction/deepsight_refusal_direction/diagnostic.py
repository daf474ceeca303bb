"""The component: what it asks to see, and the order in which the direction is found, chosen and tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from deepsight_causal import RefusalTokens, neutral_prompts, refusal_tokens, unit
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.figures import Dot, Scatter
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Positions, PostInstruction, Want
from deepsight_core.protocol import Diagnosis
from deepsight_refusal_direction import findings
from deepsight_refusal_direction.behaviour import behaviour
from deepsight_refusal_direction.candidates import Candidate, Place
from deepsight_refusal_direction.samples import FEWEST, Ints, Samples, samples
from deepsight_refusal_direction.search import Found, search
from deepsight_refusal_direction.trial import Cost, Floats, Tested, controls, costs, put_to_test

DEEPEST = 0.8
"""Share of the blocks that a direction may come from: later ones write words (Arditi et al. 2024, appendix C)."""
OWN = 16
"""Own answers whose loss is measured."""

_POSITIONS: dict[str, Positions] = {
    "last": Last(),
    "end-of-instruction": EndOfInstruction(),
    "post-instruction": PostInstruction(),
}


class RefusalDirection(Diagnostic):
    """Does one direction of hidden space make the model refuse?

    A difference of means, chosen by what it does and tested by taking it out and adding it (Arditi et al. 2024,
    arXiv:2406.11717). The cohorts are the run's contrast; its positive side is what should be refused.
    """

    name = "refusal-direction"
    positions: tuple[Literal["last", "end-of-instruction", "post-instruction"], ...] = Field(
        ("end-of-instruction", "last"), min_length=1
    )
    """Where to fit: the last token of the prompt, the last token of the user's message, every token of the template
    after it (where their number is the same for all prompts)."""
    layers: tuple[int, ...] | None = None
    """Decoder blocks at whose input to fit, from 0; None for all of the first 80 %."""
    stride: int = Field(4, ge=1)
    """Screen the directions of every so many layers."""
    screen: int = Field(8, ge=2)
    """Samples a side that screening and random directions are measured on."""
    finalists: int = Field(3, ge=1)
    """Directions that are measured on more samples after the screening."""
    scored: int = Field(24, ge=2)
    """Samples a side that finalists are measured on, at most."""
    randoms: int = Field(10, ge=5)
    """Random directions of the same length behind null bands and p values."""
    behaviour: bool = True
    """Ask held-out samples again under the edits, and have the answers judged."""
    ask: int = Field(60, ge=1)
    """Held-out samples a side that are scored and asked again, at most."""
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [self._want(position, geometry.layers) for position in self.positions]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            given = samples(evidence, self.refused, self.seed)
            tokens = refusal_tokens(evidence, inside, self.refused)
            places = [place for position in self.positions for place in self._places(position, acts, given)]
            found = search(
                inside,
                given,
                tokens,
                places,
                stride=self.stride,
                screen=self.screen,
                finalists=self.finalists,
                most=self.scored,
                seed=self.seed,
            )
            return self._tested(evidence, inside, given, tokens, found)

    def _tested(
        self, evidence: Evidence, inside: Inside, given: Samples, tokens: RefusalTokens, found: Found
    ) -> Diagnosis:
        chosen, where = found.chosen.candidate, findings.site(found.chosen.candidate)
        random = controls(chosen, self.randoms, self.seed)
        sides = {"ablation": given.rows("report", True, self.ask), "addition": given.rows("report", False, self.ask)}
        tested = {
            edit: put_to_test(inside, given, tokens, chosen, edit, rows, random, self.screen, self.seed)
            for edit, rows in sides.items()
        }
        conduct, missing = (
            behaviour(evidence, inside, given, chosen, random, self.refused, self.ask, self.seed)
            if self.behaviour
            else ([], ["Nobody was asked again (behaviour = false): scores of the first token are all that is known."])
        )
        names = dict(zip(sides, _ends(evidence.contrast_by), strict=True))
        rates = findings.conducted(conduct, where, names)
        scores = findings.scored(tested, where, names, given.ids)
        return Diagnosis(
            diagnostic=self.name,
            summary=findings.conclusion(scores, conduct, rates, chosen),
            findings=(
                *rates,
                *scores.values(),
                findings.described(found.chosen, len(found.rows), findings.length(chosen), found.passed),
                *findings.costs(self._costs(inside, given, chosen, sides["addition"], random), where),
                *findings.agreement(chosen, found.cosines(), len(found.rows)),
                *findings.profile(found.screened),
            ),
            table=_table(given, chosen, found.rows, tested),
            figures=(_figure(given, chosen, found.rows, tested, names),),
            caveats=(*self._caveats(evidence, given, tokens, found), *missing),
        )

    def _want(self, position: str, depth: int) -> Want:
        layers = self.layers if self.layers is not None else tuple(n for n in range(depth) if n < DEEPEST * depth)
        return Want(site="resid_in", layers=layers, positions=_POSITIONS[position])

    def _places(self, position: str, acts: Acts, given: Samples) -> Iterator[Place]:
        want = next(want for want in acts.layers if want.site == "resid_in" and want.positions == _POSITIONS[position])
        layers = tuple(layer for layer in acts.layers[want] if layer is not None)
        rows = [acts.each(want)[row] for row in acts.rows(given.ids)]
        counts = {row.shape[1] for row in rows}
        if len(counts) > 1:
            raise DiagnosticError(
                f"the template writes {min(counts)} to {max(counts)} tokens after the instruction, so these positions "
                "do not match; use positions = ['end-of-instruction', 'last']"
            )
        for number in range(counts.pop()):
            label = position if position != "post-instruction" else f"post-instruction {number}"
            yield Place(label, layers, np.stack([row[:, number] for row in rows]))

    def _costs(
        self, inside: Inside, given: Samples, chosen: Candidate, harmless: Ints, random: Floats
    ) -> dict[tuple[str, str], Cost]:
        neutral = neutral_prompts()
        found = {
            (edit, "neutral text"): cost
            for edit, cost in costs(inside, chosen, neutral, range(len(neutral)), random).items()
        }
        own = [row for row in harmless if given.refused[row] is False and given.prompts[row].answer][:OWN]
        if own:
            clusters = [int(given.groups[row]) for row in own]
            answers = costs(inside, chosen, [given.prompts[row] for row in own], clusters, random[:0])
            found |= {(edit, "own answers"): cost for edit, cost in answers.items()}
        return found

    def _caveats(self, evidence: Evidence, given: Samples, tokens: RefusalTokens, found: Found) -> list[str]:
        parts = [len(part) for part in (given.parts.fit, given.parts.choose, given.parts.report)]
        told = [
            f"Directions were fitted on {len(found.rows)} of {parts[0]} samples, chosen on {parts[1]} and tested on "
            f"{parts[2]} others; no cluster is in two parts. Screening shows samples of the part that was chosen on.",
            f"{len(found.screened)} of {found.candidates} directions were screened (every {self.stride}. layer, "
            f"{self.screen} samples a side), {self.finalists} measured on up to {self.scored}.",
            "The refusal score is the log-odds that the answer opens with one of: "
            + ", ".join(repr(text) for text in tokens.texts)
            + ".",
        ]
        if not tokens.learnt:
            told.append(
                f"The model refused {tokens.refused} of {tokens.refused + tokens.complied} times, too rarely to learn "
                "how it refuses: the usual English openings stand in."
            )
        if not found.filtered:
            told.append(
                f"Fewer than {FEWEST} fitting samples of a side did what was expected of them, so the direction was "
                "fitted on all: it may tell what is harmful from what is harmless, not what is refused."
            )
        if not found.passed:
            told.append(
                "No direction passed the published filter (harmless prompts refused when it is added, next token "
                "moved by at most 0.1 nats when it is taken out)."
            )
        if left := evidence.contrast().left_out:
            told.append(f"{left} samples have no value for {evidence.contrast_by!r} and were left out.")
        return told


def _ends(contrast: str) -> tuple[str, str]:
    what = contrast.partition(":")[2]
    return what, f"not {what}"


def _projections(given: Samples, chosen: Candidate, fit: Ints) -> Floats:
    """Place of every sample along the direction: 0 halfway between the two means of the fitting samples, 1 their pooled
    standard deviation."""
    along = chosen.states @ unit(chosen.vector)
    sides = [along[fit[given.y[fit] == label]] for label in (0, 1)]
    spread = np.sqrt(np.mean([side.var() for side in sides])) or 1.0
    return np.asarray((along - np.mean([side.mean() for side in sides])) / spread)


def _table(
    given: Samples, chosen: Candidate, fit: Ints, tested: Mapping[str, Tested]
) -> dict[str, dict[str, float | str | None]]:
    places = _projections(given, chosen, fit)
    parts = {int(row): part for part in ("fit", "choose", "report") for row in getattr(given.parts, part)}
    rows: dict[str, dict[str, float | str | None]] = {
        id: {"projection (within-class spreads)": float(places[row]), "part": parts[row]}
        for row, id in enumerate(given.ids)
    }
    for edit, one in tested.items():
        for row, before, after in zip(one.rows, one.before, one.after, strict=True):
            rows[given.ids[row]] |= {"refusal score": float(before), f"refusal score under {edit}": float(after)}
    return rows


def _figure(
    given: Samples, chosen: Candidate, fit: Ints, tested: Mapping[str, Tested], names: Mapping[str, str]
) -> Scatter:
    places = _projections(given, chosen, fit)
    return Scatter(
        name="projection and refusal score",
        caption=f"Held-out samples without an edit, along the direction (layer {chosen.layer}, {chosen.position}), and "
        "how strongly the model leans to a refusal.",
        x="projection on the direction (within-class spreads; 0 is halfway between the classes)",
        y="refusal score (log-odds)",
        dots=tuple(
            Dot(id=given.ids[row], x=float(places[row]), y=float(score), group=names[edit])
            for edit, one in tested.items()
            for row, score in zip(one.rows, one.before, strict=True)
        ),
    )
