"""The component: what it asks to see in either mode, and what it concludes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.evidence import Evidence
from deepsight_core.figures import Figure, Scatter
from deepsight_core.inside import Acts, All, Array, Geometry, Inside, Last, MeanTokens, Span, Want
from deepsight_core.planes import plane
from deepsight_core.protocol import Diagnosis, Finding, Site
from deepsight_x_boundary.classes import BOUNDARY, HARMFUL, NAMES, SAFE, Classes, classes
from deepsight_x_boundary.findings import (
    length_finding,
    profile_findings,
    published_findings,
    reference_summary,
    summary,
)
from deepsight_x_boundary.geometry import Layout, projections, squared_distances
from deepsight_x_boundary.layers import Layer, measure
from deepsight_x_boundary.published import TOKENS, indices, published

_LAST_OF_ANSWER = Want(positions=Span(name="response", last=True), text="exchange")
_UNCONTROLLED = ("Length was not controlled for: token counts were not captured or do not vary.",)


class XBoundary(Diagnostic):
    """How far apart harmful and safe texts lie in hidden space, and on which side the boundary texts fall.

    After X-Boundary (Lu et al. 2025, arXiv:2502.09990), as the DeepSight paper reports it (arXiv:2602.12092).
    """

    name = "x-boundary"
    mode: Literal["corrected", "reference"] = "corrected"
    """corrected: scale-free, at every layer, with intervals and a null. reference: the published rules and units."""
    text: Literal["prompt", "exchange"] = "prompt"
    """corrected only. prompt: its last token, and the mean over the user's tokens; exchange: the answer's last
    token, and the mean over its tokens. The reference always looks at the exchange."""
    harmful: str = "label:harmful"
    """Which samples are harmful: a selector, `label:NAME`, `label:NAME=VALUE` or `verdict:LABEL`."""
    safe: str = "label:harmful=false"
    """Which samples are safe; boundary samples are taken out."""
    boundary: str = "label:boundary"
    """Which samples are harmless but look sensitive."""
    permutations: int = Field(1000, ge=20)
    """Shuffled labellings behind null bands and p values."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [want for _, want in (self._published(geometry) if self.mode == "reference" else self._corrected())]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            found = classes(evidence, self.harmful, self.safe, self.boundary)
            if self.mode == "reference":
                return self._reference(found, acts, inside.geometry)
            return self._correct(evidence, found, acts)

    def _published(self, geometry: Geometry) -> list[tuple[Site, Want]]:
        """One site and want for each of the reference's two layers."""
        pooled = "mean of all tokens"
        wanted = []
        for index in indices(geometry.layers):
            layer = index - 1 if index else None
            wanted.append(
                (
                    Site(kind="resid_out" if index else "embed", layer=layer, position=pooled),
                    Want(
                        site="resid_out" if index else "embed",
                        layers=(index - 1,) if index else None,
                        positions=All(),
                        reduce=MeanTokens(),
                        text="exchange",
                        truncate=TOKENS,
                    ),
                )
            )
        return wanted

    def _corrected(self) -> list[tuple[str, Want]]:
        """Positions that leave out the template and the attention sink at its start, whose norm dwarfs all others."""
        part: Literal["user", "response"] = "user" if self.text == "prompt" else "response"
        return [
            ("last", Want(positions=Last())) if part == "user" else ("last of the answer", _LAST_OF_ANSWER),
            (f"mean of {part} tokens", Want(positions=Span(name=part), reduce=MeanTokens(), text=self.text)),
        ]

    def _reference(self, found: Classes, acts: Acts, geometry: Geometry) -> Diagnosis:
        findings: list[Finding] = []
        figures: list[Figure] = []
        for site, want in self._published(geometry):
            x = vectors(acts, want, found.ids)[:, 0]
            findings += published_findings(published(x, found.kind), site, len(found.ids))
            figures += _figure(x, found, site)
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=reference_summary(findings),
            findings=tuple(findings),
            figures=tuple(figures),
            caveats=(
                "Distances are in the units of the residual stream: they do not compare across models or layers.",
                "The mean takes in the template and the first token, so it depends on the length of the text.",
                *_missing(found, self.boundary),
            ),
        )

    def _correct(self, evidence: Evidence, found: Classes, acts: Acts) -> Diagnosis:
        layout = Layout(found, self.permutations, self.resamples, self.seed)
        tokens = acts.lengths.get(self.text)
        lengths = None if tokens is None else tokens[acts.rows(found.ids)].astype(np.float64)
        if lengths is not None and not lengths.std():
            lengths = None
        (position, want), *_ = self._corrected()
        headline = max(2 * len(acts.layers[want]) // 3 - 1, 0)
        main = Site(kind="resid_out", layer=acts.layers[want][headline], position=position)
        places = projections(squared_distances(vectors(acts, want, found.ids)[:, headline]), found)
        layers: list[Layer] = []
        figures: list[Figure] = []
        for place, want in self._corrected():
            stack = vectors(acts, want, found.ids)
            for column, layer in enumerate(acts.layers[want]):
                site = Site(kind="resid_out", layer=layer, position=place)
                layers.append(measure(site, stack[:, column], lengths, layout))
                if column == headline:
                    figures += _figure(stack[:, column], found, site)
        findings = profile_findings(layers, layout, main)
        if lengths is not None:
            findings.append(length_finding(lengths, layout))
        return Diagnosis(
            diagnostic=self.name,
            mode=self.mode,
            summary=summary(findings, main),
            findings=tuple(findings),
            table={
                id: {"class": NAMES[kind], "place from safe (0) to harmful (1)": None if np.isnan(t) else float(t)}
                for id, kind, t in zip(found.ids, found.kind, places, strict=True)
            },
            figures=tuple(figures),
            caveats=(
                "Distances between classes are correlational: they do not say that the model acts on them.",
                f"p values are corrected for the {len(layers)} sites looked at (largest statistic over the sites under "
                f"{self.permutations} permutations).",
                f"The headline and the table are read at two thirds of the depth (layer {main.layer}, {position!r}), "
                "fixed in advance, so that neither is the best of many.",
                *_missing(found, self.boundary),
                *_elsewhere(evidence, self.harmful),
                *(_UNCONTROLLED if lengths is None else ()),
            ),
        )


def _figure(x: Array, found: Classes, site: Site) -> list[Scatter]:
    """The samples in a plane, for people; no number is read from it."""
    where = "Embedding" if site.layer is None else f"Layer {site.layer}"
    drawn = plane(
        x,
        found.ids,
        [NAMES[kind] for kind in found.kind],
        found.groups,
        (NAMES[SAFE], NAMES[HARMFUL]),
        name=f"plane, {where.lower()}, {site.position}",
        where=f"{where}, {site.position}",
    )
    return [drawn] if drawn else []


def _missing(found: Classes, selector: str) -> list[str]:
    if found.count(BOUNDARY):
        return []
    return [f"No sample is in the boundary class ({selector!r}): nothing is said about boundary texts."]


def _elsewhere(evidence: Evidence, harmful: str) -> list[str]:
    if evidence.contrast_by == harmful:
        return []
    return [f"Classes come from this diagnostic's own selectors, not from the run's contrast {evidence.contrast_by!r}."]
