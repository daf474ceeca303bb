"""The component: what it asks to see, and the order in which the study is made and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from deepsight_probing import bag_of_words, standardised
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, numbered, vectors
from deepsight_core.evidence import Contrast, Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Positions, Want
from deepsight_core.planes import plane
from deepsight_core.protocol import Diagnosis, Site
from deepsight_core.statistics import permutation_p
from deepsight_linear_probe.behaviour import Conduct, behaviour
from deepsight_linear_probe.controls import random_directions
from deepsight_linear_probe.findings import (
    SIGNIFICANT,
    conclusion,
    control_findings,
    headline_findings,
    profile_findings,
)
from deepsight_linear_probe.study import Probed, choose, design, probe_control, probe_site

DIRECTIONS = 200
"""Random directions, enough for a stable 95 % quantile."""

_POSITIONS: dict[str, Positions] = {"last": Last(), "end-of-instruction": EndOfInstruction()}


class LinearProbe(Diagnostic):
    """Can two cohorts be told apart inside the model, at which layer, and by more than their words and length?

    Ridge probes, cross-validated by cluster, with the controls that a probe needs (Alain and Bengio 2016,
    arXiv:1610.01644; Hewitt and Liang 2019, arXiv:1909.03368). The cohorts are the run's contrast.
    """

    name = "linear-probe"
    positions: tuple[Literal["last", "end-of-instruction"], ...] = Field(("last", "end-of-instruction"), min_length=1)
    """Where to read: the last token of the prompt (template included), the last token of the user's message."""
    layers: tuple[int, ...] | None = None
    """Decoder blocks, from 0; None for all."""
    folds: int = Field(5, ge=2)
    """Folds of the cross-validation; each class needs at least as many clusters."""
    penalties: tuple[float, ...] = Field((0.1, 1.0, 10.0, 100.0), min_length=1)
    """Ridge penalties to choose from, relative to the mean eigenvalue of the training rows' inner products."""
    permutations: int = Field(200, ge=20)
    """Shuffled labellings behind null bands and p values; the smallest p is 1 / (permutations + 1)."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals."""
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal where the probe is compared with behaviour."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [want for position in self.positions for want in (self._embedding(position), self._stream(position))]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            contrast = in_order(evidence.contrast())
            plan = design(
                contrast.y,
                contrast.groups,
                count=self.folds,
                permutations=self.permutations,
                resamples=self.resamples,
                penalties=self.penalties,
                seed=self.seed,
            )
            sites: list[Probed] = []
            embeddings: list[tuple[Probed, bool]] = []
            for position in self.positions:
                x = vectors(acts, self._embedding(position), contrast.ids)[:, 0]
                probed = probe_site(Site(kind="embed", position=position), x, plan)
                embeddings.append((probed, bool((x == x[0]).all())))
                want = self._stream(position)
                stack = vectors(acts, want, contrast.ids)
                for column, layer in enumerate(acts.layers[want]):
                    site = Site(kind="resid_out", layer=layer, position=position)
                    sites.append(probe_site(site, stack[:, column], plan))
            chosen = choose(sites, plan)
            probability, places = chosen.selected.probability, chosen.selected.places
            usual = sites[chosen.selected.usual].site
            at = self._stream(usual.position or "")
            x = vectors(acts, at, contrast.ids)[:, acts.layers[at].index(usual.layer)]
            directions = random_directions(x, plan.y, DIRECTIONS, self.seed)
            lexical = {
                "bag of words": probe_control(bag_of_words(contrast.texts), plan),
                "prompt length": probe_control(standardised(_sizes(contrast, acts)), plan),
            }
            what = contrast.name.partition(":")[2]
            headlines = headline_findings(what, chosen, usual, lexical, plan, self.seed)
            ends = (f"not {what}", what)
            drawn = plane(
                x,
                contrast.ids,
                [ends[y] for y in contrast.y],
                contrast.groups,
                ends,
                name="plane",
                where=f"{_place(usual).capitalize()}: where the probe was read most often",
            )
            conduct = (
                Conduct(caveats=("The probe reads nothing beyond chance, so it was not compared with behaviour.",))
                if permutation_p(chosen.reading.value, chosen.reading.null) > SIGNIFICANT
                else behaviour(evidence, contrast, probability, self.refused, self.resamples, self.seed)
            )
            return Diagnosis(
                diagnostic=self.name,
                summary=conclusion(what, headlines, conduct.findings),
                findings=(
                    *headlines,
                    *conduct.findings,
                    *profile_findings(sites, plan),
                    *control_findings(chosen, usual, lexical, embeddings, directions),
                ),
                table={
                    id: {f"probe p({what})": float(p), "probe site": _place(sites[place].site)}
                    for id, p, place in zip(contrast.ids, probability, places, strict=True)
                },
                figures=(drawn,) if drawn else (),
                caveats=(*_caveats(contrast, len(sites), self.permutations), *conduct.caveats),
            )

    def _embedding(self, position: str) -> Want:
        return Want(site="embed", positions=_POSITIONS[position])

    def _stream(self, position: str) -> Want:
        return Want(site="resid_out", layers=self.layers, positions=_POSITIONS[position])


def in_order(contrast: Contrast) -> Contrast:
    """Rows sorted by sample id, so that folds and permutations do not depend on the order of the evidence."""
    order = np.argsort(contrast.ids)
    return Contrast(
        name=contrast.name,
        ids=tuple(contrast.ids[row] for row in order),
        y=contrast.y[order],
        groups=numbered(contrast.groups[order]),
        texts=tuple(contrast.texts[row] for row in order),
        left_out=contrast.left_out,
    )


def _sizes(contrast: Contrast, acts: Acts) -> np.ndarray:
    """Characters of the user's words and, where the capture counted them, tokens of the prompt: (rows, 1 or 2)."""
    columns = [np.array([len(text) for text in contrast.texts], dtype=np.float64)]
    if "prompt" in acts.lengths:
        columns.append(acts.lengths["prompt"][acts.rows(contrast.ids)].astype(np.float64))
    return np.column_stack(columns)


def _place(site: Site) -> str:
    return f"layer {site.layer}, {site.position}"


def _caveats(contrast: Contrast, sites: int, permutations: int) -> list[str]:
    told = [
        "A probe shows that information can be read at a layer, not that the model uses it.",
        f"p values of layer profiles are corrected for the {sites} sites looked at (largest statistic over the sites "
        f"under {permutations} permutations).",
        "Intervals resample the held-out samples by cluster and hold the trained probes fixed.",
    ]
    if contrast.left_out:
        told.append(f"{contrast.left_out} samples have no value for {contrast.name!r} and were left out.")
    return told
