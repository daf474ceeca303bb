"""Layers as findings: profiles, the headline, the length control, and sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval, permutation_p
from deepsight_x_boundary.classes import BOUNDARY
from deepsight_x_boundary.geometry import Floats, Layout, squared_distances
from deepsight_x_boundary.layers import Estimate, Layer
from deepsight_x_boundary.published import Published

SEPARATION, BEYOND, POSITION, LENGTH = "separation", "separation beyond length", "boundary position", "control: length"
UNIT = "d'"
RAW = "activation units"
UNDECIDED = 0.05
"""Share of bootstrap draws without a gap between the classes above which no boundary position is given: there is no
way from safe to harmful to be placed on."""


def profile_findings(layers: Sequence[Layer], layout: Layout, main: Site) -> list[Finding]:
    """Every quantity at every site; those at `main` are the headline."""
    found: list[Finding] = []
    corrected = familywise_p([layer.separation.value for layer in layers], [layer.null for layer in layers])
    rows = len(layout.two)
    for layer, p in zip(layers, corrected, strict=True):
        site = layer.site
        separation = _finding(
            SEPARATION,
            layer.separation,
            site,
            rows,
            "Distance of the harmful from the safe mean, in units of the spread within a class (0: none; 1: as far as "
            "a sample typically lies from its own mean).",
        )
        null_low, null_high = percentile_interval(layer.null)
        more = {"unit": UNIT, "null_low": null_low, "null_high": null_high, "p": float(p), "headline": site == main}
        found.append(separation.model_copy(update=more))
        if layer.beyond_length is not None:
            summary = "The separation that remains when every activation is regressed on the number of tokens."
            found.append(_finding(BEYOND, layer.beyond_length, site, rows, summary).model_copy(update={"unit": UNIT}))
        found.append(_finding("silhouette", layer.silhouette, site, rows, ""))
        if (layout.kind == BOUNDARY).any():
            found.append(_position(layer, len(layout.kind), headline=site == main))
        found += _raw(layer.raw, site, len(layout.kind))
    return found


def length_finding(lengths: Floats, layout: Layout) -> Finding:
    """The same separation, of token counts instead of activations: how far length alone parts the classes."""
    distances = squared_distances(lengths[:, None])
    value = float(layout.observed(distances).separation[0])
    control = Finding(name=LENGTH, value=None, count=len(layout.two), unit=UNIT, evidence="control")
    if np.isnan(value):
        summary = "Infinite: lengths differ between the classes and not within, so that length alone tells them apart."
        return control.model_copy(update={"summary": summary})
    null = layout.shuffled(distances).separation
    low, high = percentile_interval(layout.resampled(distances).separation)
    null_low, null_high = percentile_interval(null)
    known = {"value": value, "low": low, "high": high, "null_low": null_low, "null_high": null_high}
    summary = "Separation of the classes by their number of tokens alone."
    return control.model_copy(update={**known, "p": permutation_p(value, null), "summary": summary})


def summary(findings: Sequence[Finding], main: Site) -> str:
    """What was seen at the headline's layer, in sentences that claim no more."""
    here = {finding.name: finding for finding in findings if finding.site == main or finding.name == LENGTH}
    seen = here[SEPARATION]
    sure = seen.p is not None and seen.p <= 0.05
    told = [
        f"At layer {main.layer} ({main.position}), two thirds of the way up, the harmful and the safe mean lie "
        f"{_shown(seen)} within-class spreads apart"
        + (f" (shuffled labels reach {seen.null_high:.2f})." if sure else ", no more than shuffled labels give.")
    ]
    if sure and BEYOND in here:
        alone = here[LENGTH].value
        told.append(
            f"Without what the number of tokens explains it is {_shown(here[BEYOND])}; that number alone parts them "
            + ("completely." if alone is None else f"by {max(alone, 0):.2f}.")
        )
    if POSITION in here:
        position = here[POSITION]
        told.append(
            "Where boundary texts lie between the two cannot be told."
            if position.value is None
            else f"Boundary texts lie at {_shown(position)} of the way from safe (0) to harmful (1)."
        )
    return " ".join(told)


def published_findings(values: Published, site: Site, count: int) -> list[Finding]:
    """The reference's four numbers under their published names; without a boundary class the first alone."""
    found = [Finding(name="separation_score", value=values.separation, site=site, count=count, unit=RAW, headline=True)]
    if values.bound_safe is None:
        return found
    infinite = "Infinite: the boundary and the harmful centroid coincide." if values.ratio is None else ""
    return [
        *found,
        Finding(name="dist_bound_safe", value=values.bound_safe, site=site, count=count, unit=RAW),
        Finding(name="dist_bound_harmful", value=values.bound_harmful, site=site, count=count, unit=RAW),
        Finding(name="boundary_ratio", value=values.ratio, site=site, count=count, headline=True, summary=infinite),
    ]


def reference_summary(findings: Sequence[Finding]) -> str:
    told = []
    for finding in findings:
        if finding.headline and finding.site is not None:
            value = "infinite" if finding.value is None else f"{finding.value:.4g}"
            where = "embedding" if finding.site.layer is None else f"layer {finding.site.layer}"
            told.append(f"{finding.name} {value} ({where})")
    return "By the published rules: " + ", ".join(told) + "."


def _finding(name: str, estimate: Estimate, site: Site, count: int, summary: str) -> Finding:
    low, high = estimate.interval
    return Finding(name=name, value=estimate.value, low=low, high=high, count=count, site=site, summary=summary)


def _position(layer: Layer, count: int, *, headline: bool) -> Finding:
    undecided = float(np.isnan(layer.boundary.draws).mean())
    if np.isnan(layer.boundary.value) or undecided > UNDECIDED:
        summary = (
            f"Not given: {undecided:.0%} of the bootstrap draws show no gap between harmful and safe to be placed in."
        )
        return Finding(name=POSITION, value=None, count=count, site=layer.site, headline=headline, summary=summary)
    summary = "Projection of the boundary mean on the way from the safe (0) to the harmful (1) mean."
    found = _finding(POSITION, layer.boundary, layer.site, count, summary)
    return found.model_copy(update={"unit": "fraction", "headline": headline})


def _raw(values: Published, site: Site, count: int) -> list[Finding]:
    found = [Finding(name="raw separation", value=values.separation, site=site, count=count, unit=RAW)]
    if values.ratio is not None:
        found.append(Finding(name="raw boundary ratio", value=values.ratio, site=site, count=count))
    return found


def _shown(finding: Finding) -> str:
    return f"{finding.value:.2f} [{finding.low:.2f}, {finding.high:.2f}]"
