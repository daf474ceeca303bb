"""The component: what it asks to see in either mode, and what it concludes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Last, MeanTokens, Span, Want
from deepsight_core.planes import plane
from deepsight_core.protocol import Diagnosis, Site
from deepsight_tellme.classes import Classes, classes, in_order
from deepsight_tellme.findings import (
    length_findings,
    profile_findings,
    published_findings,
    reference_summary,
    summary,
)
from deepsight_tellme.layers import beyond, layout, length_control, measure
from deepsight_tellme.published import SUFFIX, block, published
from deepsight_tellme.spectra import Floats

PARTS = 20
"""Parts of the clusters that the jackknife leaves out in turn."""


class Tellme(Diagnostic):
    """How far a model's hidden states tell classes of texts apart, safe from unsafe answers above all.

    After the measures that the DeepSight paper reports (arXiv:2602.12092) under the name of TELLME (Chen et al. 2025,
    arXiv:2502.05242).
    """

    name = "tellme"
    mode: Literal["corrected", "reference"] = "corrected"
    """corrected: scale-free, at every layer, with intervals and a null. reference: the published rules and units."""
    text: Literal["prompt", "exchange"] = "exchange"
    """corrected only. exchange: the answer's last token, and the mean over its tokens; prompt: its last token (template
    included), and the mean over the user's tokens. The reference looks at the last token of the exchange's template."""
    classes: str = "label:harmful"
    """A selector that holds or not (`label:harmful`, `verdict:refused`), or a label with several values
    (`label:category`)."""
    layers: tuple[int, ...] | None = None
    """corrected only: decoder blocks, from 0; None for all."""
    permutations: int = Field(200, ge=20)
    """Shuffled classes behind null bands and p values."""
    most: int = Field(600, ge=20)
    """corrected only: of more samples, whole clusters are drawn by hash; the cost grows with their cube."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        if self.mode == "reference":
            return [_published(geometry)]
        return [want for _, want in self._corrected()]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            if self.mode == "reference":
                return self._reference(evidence, acts, inside.geometry)
            return self._correct(classes(evidence, self.classes, self.most), acts)

    def _corrected(self) -> list[tuple[str, Want]]:
        part, last = ("user", Last()) if self.text == "prompt" else ("response", Span(name="response", last=True))
        return [
            (
                "last" if part == "user" else "last of the answer",
                Want(layers=self.layers, positions=last, text=self.text),
            ),
            (
                f"mean of {part} tokens",
                Want(layers=self.layers, positions=Span(name=part), reduce=MeanTokens(), text=self.text),
            ),
        ]

    def _reference(self, evidence: Evidence, acts: Acts, geometry: Geometry) -> Diagnosis:
        found = in_order(evidence, self.classes)
        want, site = _published(geometry), Site(kind="resid_out", layer=block(geometry.layers), position="last")
        x = vectors(acts, want, found.ids)[:, 0]
        values = published(x, found.kind)
        caveats = [
            "R_diff, R_same and R_gap grow with the width, and noise without classes has an R_gap as well; distances "
            "are in the units of the residual stream. None of them compares across models.",
            "cos_sim and pcc pair rows by their place in the data: another order gives other numbers.",
        ]
        if len(set(found.counts.tolist())) > 1:
            told = ", ".join(f"{name}: {count}" for name, count in zip(found.names, found.counts, strict=True))
            caveats.append(f"Classes differ in size ({told}), and the published blocks of equal size mix them.")
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=reference_summary(values, site),
            findings=tuple(published_findings(values, site, len(found.ids))),
            caveats=tuple(caveats),
        )

    def _correct(self, found: Classes, acts: Acts) -> Diagnosis:
        plan = layout(found, self.permutations, PARTS, self.seed)
        measured = []
        for position, want in self._corrected():
            stack = vectors(acts, want, found.ids)
            for column, layer in enumerate(acts.layers[want]):
                site = Site(kind="resid_out", layer=layer, position=position)
                measured.append(measure(site, stack[:, column], plan))
        (position, want), *_ = self._corrected()
        column = max(2 * len(acts.layers[want]) // 3 - 1, 0)
        main = measured[column].site
        findings = profile_findings(measured, found, main)
        tokens = self._tokens(acts, found)
        if tokens is not None:
            x = vectors(acts, want, found.ids)[:, column]
            findings += length_findings(length_control(tokens, plan), beyond(x, tokens, plan), main, len(found.ids))
        ends = (found.names[-1], found.names[0])
        figure = plane(
            vectors(acts, want, found.ids)[:, column],
            found.ids,
            [found.names[kind] for kind in found.kind],
            found.groups,
            ends,
            name="plane",
            where=f"Layer {main.layer}, {position} token",
        )
        figures = () if figure is None else (figure,)
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=summary(findings, found, main),
            findings=tuple(findings),
            table={
                dot.id: {"class": dot.group, f"place towards {ends[1]}": dot.x} for one in figures for dot in one.dots
            },
            figures=figures,
            caveats=(
                "That classes lie apart does not say that the model acts on it.",
                "Values are those observed less the mean under shuffled classes; intervals are 1.96 jackknife standard "
                f"errors over {len(plan.kept)} parts of the clusters.",
                f"p values are corrected for the {len(measured)} sites looked at (largest statistic over the sites "
                f"under {self.permutations} permutations).",
                f"The headline is read at two thirds of the depth (layer {main.layer}, {position}), fixed in advance.",
                *([f"{found.left_out} samples were left out (option most = {self.most})."] if found.left_out else []),
                *([] if tokens is not None else ["Length was not controlled for: token counts are unknown or equal."]),
            ),
        )

    def _tokens(self, acts: Acts, found: Classes) -> Floats | None:
        """Tokens of each text; None where they are unknown or do not vary."""
        counts = acts.lengths.get(self.text)
        if counts is None:
            return None
        tokens = counts[acts.rows(found.ids)].astype(np.float64)
        return tokens if tokens.std() else None


def _published(geometry: Geometry) -> Want:
    return Want(
        layers=(block(geometry.layers),),
        positions=Last(),
        text="exchange",
        suffix=SUFFIX,
        specials=True,
        truncate=geometry.context,
    )
