"""The component: what it asks to see in either mode, and the order in which the study is made and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Last, Steps, Want
from deepsight_core.protocol import Diagnosis, Site
from deepsight_mi_peaks.drawn import figures
from deepsight_mi_peaks.findings import (
    conclusion,
    correctness_findings,
    headline_findings,
    peak_findings,
    profile_findings,
    word_findings,
)
from deepsight_mi_peaks.kernel import Kernel
from deepsight_mi_peaks.matching import choose_partners
from deepsight_mi_peaks.published import LAYER, reproduce
from deepsight_mi_peaks.study import Design, finite, measure
from deepsight_mi_peaks.summary import Answer, Frame
from deepsight_mi_peaks.words import enriched

_WORDS = 10
"""Tokens that get a finding."""


class MIPeaks(Diagnostic):
    """At which steps of an answer does the model's state depend on the reference answer's, and on this one's?

    After MI-Peaks (Qian et al. 2025, arXiv:2506.02867). The measure is an HSIC-type dependence between the coordinates
    of two vectors: not a mutual information in bits. Needs samples with a reference answer as text.
    """

    name = "mi-peaks"
    mode: Literal["corrected", "reference"] = "corrected"
    """corrected: the answers of the evaluation itself, scale-free, at every layer, with nulls and controls. reference:
    the published procedure, which generates its own answers from the bare problem."""
    layer: int | None = None
    """The block whose results are told first, -1 for the last. None: two thirds of the depth; for the reference, 31."""
    layers: tuple[int, ...] | None = None
    """corrected only: the blocks to look at, from 0; None for all."""
    max_steps: int = Field(256, ge=4)
    """corrected only: look at this many tokens of each answer at most, which bounds the memory."""
    bandwidth: float = Field(1.0, gt=0)
    """corrected only: sigma of the kernel, in standard deviations over a vector's coordinates."""
    others: int = Field(8, ge=0)
    """corrected only: how many other problems' reference answers each answer is held against."""
    correct: str = "verdict:correct"
    """corrected only: the verdict on a right answer, where the peaks of right and wrong answers are compared."""
    permutations: int = Field(100, ge=20)
    """corrected only: random orders of coordinates behind null bands and p values."""
    resamples: int = Field(1000, ge=100)
    """corrected only: bootstrap draws behind intervals, and moves of the peaks behind the p values of tokens."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        with attributed(self.name):
            _check_targets(evidence)
            if self.mode == "reference":
                return [self._published(geometry)]
            self._main(geometry)
            return [self._reference(), self._steps()]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            _check_targets(evidence)
            if self.mode == "corrected":
                return self._correct(evidence, acts, inside)
            return reproduce(self.name, evidence.prompts, acts, self._published(inside.geometry), inside)

    def _published(self, geometry: Geometry) -> Want:
        layer = _resolved(LAYER if self.layer is None else self.layer, geometry)
        return Want(layers=(layer,), positions=Last(), text="target", raw=True)

    def _steps(self) -> Want:
        return Want(layers=self.layers, positions=Steps(stop=self.max_steps), text="exchange")

    def _reference(self) -> Want:
        return Want(layers=self.layers, positions=Last(), text="target")

    def _main(self, geometry: Geometry) -> int:
        """The layer that is told first. Raises DiagnosticError when it is out of range or not among `layers`."""
        looked_at = range(geometry.layers) if self.layers is None else self.layers
        if self.layer is None:
            wanted = max(2 * geometry.layers // 3 - 1, 0)
            return min(looked_at, key=lambda layer: abs(layer - wanted))
        layer = _resolved(self.layer, geometry)
        if layer not in looked_at:
            raise DiagnosticError(f"layer {layer} is to be told first but is not among layers {self.layers}; add it")
        return layer

    def _correct(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        prompts = sorted(evidence.prompts, key=lambda prompt: prompt.id)
        ids = [prompt.id for prompt in prompts]
        seen = acts.each(self._steps())
        states = [finite(seen[row], id) for row, id in zip(acts.rows(ids), ids, strict=True)]
        references = vectors(acts, self._reference(), ids)
        layers = acts.layers[self._steps()]
        main = layers.index(self._main(inside.geometry))
        site = Site(kind="resid_out", layer=layers[main], position="steps")
        of = {sample.id: sample.cluster for sample in evidence.samples}
        clusters = [of[id] for id in ids]
        design = Design(
            partners=choose_partners(clusters, self.others),
            main=main,
            kernel=Kernel(sigma=self.bandwidth),
            permutations=self.permutations,
            seed=self.seed,
        )
        courses = measure(states, references, design)
        said = inside.read(Want(positions=Steps(), text="exchange"), prompts)
        answers = [
            Answer(id, cluster, words[: course.own.shape[1]], course, main)
            for id, cluster, words, course in zip(ids, clusters, said, courses, strict=True)
        ]
        frame = Frame(answers, design.partners, site, self.resamples, self.seed)
        words = enriched([one.words for one in answers], [one.flags for one in answers], self.resamples, self.seed)
        headlines = headline_findings(frame)
        compared = correctness_findings(frame, evidence, self.correct)
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=conclusion(headlines, site),
            findings=(
                *headlines,
                *peak_findings(frame),
                *compared,
                *word_findings(words, site, _WORDS),
                *profile_findings(frame, layers),
            ),
            table={one.id: _line(one) for one in answers},
            figures=figures(frame, layers),
            caveats=self._caveats(frame, design, said),
        )

    def _caveats(self, frame: Frame, design: Design, said: Sequence[Sequence[str]]) -> tuple[str, ...]:
        partners = design.partners.shape[1]
        cut = [len(words) - self.max_steps for words in said if len(words) > self.max_steps]
        told = [
            "Dependence is that between the coordinates of two vectors (normalised-CCA HSIC, chance taken off): not a "
            "mutual information in bits, and correlational.",
            "Random orders of coordinates are beaten by whatever all states share, such as a few massive coordinates. "
            "That a state is about this answer shows only against other problems' reference answers.",
            f"Layer {frame.site.layer} was fixed in advance, so that it is not the best of many.",
        ]
        if partners:
            told.append(f"Each answer was held against the reference answers of {partners} other problems.")
        else:
            told.append("There is one independent problem only: nothing was held against other reference answers.")
        if cut:
            told.append(
                f"{len(cut)} of {len(said)} answers were cut at {self.max_steps} tokens (max_steps): {sum(cut)} tokens "
                "were not looked at."
            )
        return tuple(told)


def _resolved(layer: int, geometry: Geometry) -> int:
    found = layer + geometry.layers if layer < 0 else layer
    if not 0 <= found < geometry.layers:
        raise DiagnosticError(
            f"layer {layer} is out of range: this model has layers 0 to {geometry.layers - 1}; "
            "set layer, -1 for the last"
        )
    return found


def _check_targets(evidence: Evidence) -> None:
    lacking = [prompt.id for prompt in evidence.prompts if not (prompt.target or "").strip()]
    if lacking:
        raise DiagnosticError(
            f"{len(lacking)} of {len(evidence.samples)} samples have no reference answer as text (the first is "
            f"{lacking[0]!r}); diagnose data sets that have one, such as gsm8k, by datasets = [...] in [[diagnose]]"
        )


def _line(one: Answer) -> dict[str, float | str | None]:
    place = int(np.argmax(one.trajectory))
    return {
        "steps": float(len(one.trajectory)),
        "peaks": float(one.flags.sum()),
        "peak share": float(one.flags.mean()),
        "dependence": float(one.trajectory.mean()),
        "strongest step": float(one.trajectory[place]),
        "strongest token": one.words[place],
    }
