"""The component: what it asks to see, and the order in which causes are found and told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import RefusalTokens, refusal_tokens, scores
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Prompt, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_root_cause.cases import cases
from deepsight_root_cause.causes import BAND
from deepsight_root_cause.findings import (
    calibration_findings,
    cause_findings,
    decision_findings,
    matrix,
    parting_findings,
    recognition_findings,
    trajectory_findings,
)
from deepsight_root_cause.intervention import places_to_push, push, push_findings
from deepsight_root_cause.recognition import Floats
from deepsight_root_cause.study import Study, study
from deepsight_root_cause.telling import conclusion, scatter


class RootCause(Diagnostic):
    """Why did a prompt fail: was its harm not recognised, or recognised and answered all the same?

    What the model represents (a probe at the end of the instruction) and what it decides (the refusal axis at the last
    token) are measured apart, since they are different directions at different places (Zhao et al. 2025,
    arXiv:2507.11878). Nobody is judged by a probe that saw it.
    """

    name = "root-cause"
    harmful: str = "label:harmful"
    """What should be refused."""
    refused: str = "verdict:refused"
    """The verdict that is a refusal."""
    answered: str = "verdict:complied"
    """The verdict that is an answer; samples with neither verdict are left out."""
    train: str | None = None
    """A data set of the diagnosis, or a selector: probes and axes are trained on it and findings are about the rest.
    None: trained on some folds, tested on the others."""
    certainty: float = Field(0.7, gt=0.5, lt=1)
    """A reading is decided when the calibrated probability of either side is at least this; else "undecided"."""
    layers: tuple[int, ...] | None = None
    """Decoder blocks, from 0; None for all."""
    confirm: bool = True
    """Add the refusal direction to the harmful prompts that were answered, and see which of them it turns."""
    folds: int = Field(5, ge=2)
    """Folds of whole clusters; each class needs at least as many clusters."""
    penalties: tuple[float, ...] = Field((0.1, 1.0, 10.0, 100.0), min_length=1)
    """Ridge penalties to choose from, relative to the mean eigenvalue of the training rows' inner products."""
    permutations: int = Field(200, ge=20)
    """Shuffled labellings behind null bands and p values."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return (self._instruction, self._last)

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            made = self._study(evidence, acts)
            known, draws = made.known, (self.resamples, self.seed)
            by_id = {prompt.id: prompt for prompt in evidence.prompts}
            prompts = [by_id[id] for id in known.ids]
            tokens = refusal_tokens(evidence, inside, self.refused)
            score = scores(inside, prompts, tokens)
            recognition = recognition_findings(made)
            whys = cause_findings(made)
            pushed = self._confirmed(made, inside, prompts, tokens, score) if self.confirm else []
            cells, shares = matrix(made)
            return Diagnosis(
                diagnostic=self.name,
                summary=conclusion(made, recognition, whys, pushed),
                findings=(
                    *recognition,
                    *whys,
                    *pushed,
                    *parting_findings(made, *draws),
                    *decision_findings(made, score, self.permutations, *draws),
                    *calibration_findings(made, *draws),
                    *cells,
                    *trajectory_findings(made, *draws),
                ),
                table={known.ids[row]: made.row(int(row), float(score[row])) for row in np.flatnonzero(known.reported)},
                figures=(scatter(made), shares),
                caveats=self._caveats(made, tokens),
            )

    def _study(self, evidence: Evidence, acts: Acts) -> Study:
        known = cases(
            evidence,
            harmful=self.harmful,
            refused=self.refused,
            answered=self.answered,
            train=self.train,
            count=self.folds,
            seed=self.seed,
        )
        return study(
            known,
            vectors(acts, self._instruction, known.ids),
            vectors(acts, self._last, known.ids),
            [layer for layer in acts.layers[self._last] if layer is not None],
            certainty=self.certainty,
            penalties=self.penalties,
            permutations=self.permutations,
            resamples=self.resamples,
            seed=self.seed,
        )

    def _confirmed(
        self, made: Study, inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens, score: Floats
    ) -> list[Finding]:
        known = made.known
        rows = np.flatnonzero(known.reported & (known.harmful == 1) & (known.refused == 0))
        if not len(rows):
            return []
        places, site = places_to_push(made, inside.geometry.layers)
        done = push(
            inside, prompts, rows, score, known.fold, made.refusal.vectors, places, made.layers, tokens, self.seed
        )
        return push_findings(done, known, made.causes, site, self.resamples, self.seed)

    def _caveats(self, made: Study, tokens: RefusalTokens) -> tuple[str, ...]:
        told = [
            f"A reading is decided when its calibrated probability is at least {self.certainty:g}. That harm can be "
            "read does not mean that the model uses it; what the direction turns says more.",
            "Layers are chosen by the training samples; p values repeat that choice under shuffled labels. Intervals "
            "hold the trained probes fixed, and shares of causes are not corrected for the probe's errors.",
        ]
        if not made.readable:
            told.append("The probe reads nothing beyond chance, so every reading is undecided.")
        if not made.known.by_conduct:
            told.append(
                "The model does nearly always the same, so the refusal axis was fitted to the label, not to what it "
                "did: it need not have to do with refusing."
            )
        for label, kind, right in ((1, "harmful", "refused"), (0, "harmless", "answered")):
            if label not in made.parting.bands:
                told.append(f"Fewer than {BAND} {kind} prompts were {right}: where the others part is not known.")
        if not tokens.learnt:
            told.append(
                f"The model refused {tokens.refused} times: refusal scores use the usual English openings, not its own."
            )
        if made.ranking is None:
            told.append("The reported samples all have one label, so the probe could not be tested on them.")
        if made.known.left_out:
            told.append(f"{made.known.left_out} samples have no label, or no verdict that is a refusal or an answer.")
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
