"""The component: what it asks to see, and the order in which shifts are measured and told."""

from __future__ import annotations

from collections.abc import Sequence

from deepsight_causal import refusal_tokens
from deepsight_root_cause.cases import cases
from deepsight_root_cause.study import study
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Want
from deepsight_core.protocol import Diagnosis
from deepsight_jailbreak_shift.findings import (
    Picture,
    conduct_findings,
    fraction_findings,
    profile_findings,
    share_findings,
    shift_findings,
)
from deepsight_jailbreak_shift.forms import forms
from deepsight_jailbreak_shift.restoring import restored
from deepsight_jailbreak_shift.shift import shift
from deepsight_jailbreak_shift.telling import conclusion, figures, table


class JailbreakShift(Diagnostic):
    """How does an attack move a prompt inside the model, against the plain form of the same request?

    The refusal and the harmfulness direction are fitted to plain prompts alone; the attacked forms of held-out groups
    are placed on them (refusal shift: Lin et al. 2024, arXiv:2406.10794; two directions: Zhao et al. 2025,
    arXiv:2507.11878). Samples of one intent share a group.
    """

    name = "jailbreak-shift"
    attack: str = "label:attack"
    """Where the data say which attack a prompt is under."""
    plain: str = "label:attack=none"
    """The prompts that are under none; all others are attacked forms."""
    harmful: str = "label:harmful"
    """What should be refused."""
    refused: str = "verdict:refused"
    """The verdict that is a refusal."""
    answered: str = "verdict:complied"
    """The verdict that is an answer; samples with neither verdict are left out."""
    certainty: float = Field(0.7, gt=0.5, lt=1)
    """Harm counts as recognised, or not, when the calibrated probability is at least this; else "undecided"."""
    layers: tuple[int, ...] | None = None
    """Decoder blocks, from 0; None for all."""
    confirm: bool = True
    """Give the prompts that an attack broke their plain form's refusal coordinate back, and see whether they refuse."""
    folds: int = Field(5, ge=2)
    """Folds of whole groups; each class needs at least as many groups."""
    penalties: tuple[float, ...] = Field((0.1, 1.0, 10.0, 100.0), min_length=1)
    """Ridge penalties to choose from, relative to the mean eigenvalue of the training rows' inner products."""
    permutations: int = Field(100, ge=20)
    """Shuffled labellings behind the null of the harm probe."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals, and behind the error of the directions."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return (self._instruction, self._last)

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            seen = self._picture(evidence, acts)
            known, broken = seen.made.known, seen.broken
            tokens = refusal_tokens(evidence, inside, self.refused)
            by_id = {prompt.id: prompt for prompt in evidence.prompts}
            prompts = [by_id[id] for id in known.ids]
            given_back = (
                restored(seen.made, seen.forms, broken, prompts, inside, tokens, self.seed)
                if self.confirm and len(broken)
                else []
            )
            found = (
                *conduct_findings(seen),
                *given_back,
                *shift_findings(seen),
                *fraction_findings(seen),
                *share_findings(seen),
                *profile_findings(seen),
            )
            return Diagnosis(
                diagnostic=self.name,
                summary=conclusion(seen, found),
                findings=found,
                table=table(seen),
                figures=figures(seen),
                caveats=self._caveats(seen, tokens.learnt),
            )

    def _picture(self, evidence: Evidence, acts: Acts) -> Picture:
        plain = set(evidence.cohort(self.plain))
        if not plain or len(plain) == len(evidence.samples):
            raise DiagnosticError(
                f"{self.plain!r} holds for {'every' if plain else 'no'} sample, and both plain and attacked prompts "
                "are needed; evaluate a data set such as attacked-pairs, or set the options `attack` and `plain`"
            )
        known = cases(
            evidence,
            harmful=self.harmful,
            refused=self.refused,
            answered=self.answered,
            train=self.plain,
            count=self.folds,
            seed=self.seed,
        )
        instruction = vectors(acts, self._instruction, known.ids)
        made = study(
            known,
            instruction,
            vectors(acts, self._last, known.ids),
            [layer for layer in acts.layers[self._last] if layer is not None],
            certainty=self.certainty,
            penalties=self.penalties,
            permutations=self.permutations,
            resamples=self.resamples,
            seed=self.seed,
        )
        pairs = forms(evidence, known, self.attack)
        moved = shift(made, instruction, pairs, self.resamples, self.seed)
        return Picture(made, pairs, moved, self.resamples, self.seed)

    def _caveats(self, seen: Picture, learnt: bool) -> tuple[str, ...]:
        known = seen.made.known
        told = [
            "Shifts are correlational; only what was given back is an intervention. A frame lengthens the prompt and "
            "changes its last words, which moves every coordinate: compare with the harmless twins.",
            "Directions and layers come from plain prompts of other groups. p values of shifts are corrected over "
            "attacks, labels and coordinates, and allow for the error of the directions; those of shares and of "
            "changes of refusals are not corrected.",
        ]
        if not seen.made.readable:
            told.append("On attacked prompts the probe reads nothing beyond chance, so every failure is undecided.")
        if not known.by_conduct:
            told.append(
                "The refusal axis was fitted to the label: the model does nearly always the same when asked plainly."
            )
        if seen.shift.gap >= 0:
            told.append(
                "Plain harmful prompts lie no higher on the refusal axis than harmless ones: no fractions are given."
            )
        if not learnt:
            told.append("Too few refusals to learn from: refusal scores use the usual English openings.")
        if seen.forms.left_out:
            told.append(f"{seen.forms.left_out} attacked prompts have no single plain form and were left out.")
        if known.left_out:
            told.append(f"{known.left_out} samples have no label, or no verdict that is a refusal or an answer.")
        return tuple(told)

    @property
    def _layers(self) -> tuple[int, ...] | None:
        return None if self.layers is None else tuple(sorted(self.layers))

    @property
    def _instruction(self) -> Want:
        return Want(site="resid_out", layers=self._layers, positions=EndOfInstruction())

    @property
    def _last(self) -> Want:
        return Want(site="resid_out", layers=self._layers, positions=Last())
