"""What was measured as findings, and sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval, permutation_p
from deepsight_tellme.classes import Classes
from deepsight_tellme.layers import NORMAL, Estimate, Layer
from deepsight_tellme.published import Published

RATE, ENERGY, RANK, LENGTH = "rate reduction", "energy coefficient", "effective rank", "control: length"
SHARE = "share of the most"
MEASURES = {
    RATE: (
        "Coding rate that the classes explain beyond shuffled ones: 0 for nothing, 1 for classes without any spread.",
        SHARE,
    ),
    ENERGY: ("How much shorter distances within a class are than between classes: 0 for not at all.", ""),
}
"""What they mean, and their unit."""
PUBLISHED = {
    "R_diff": ("r_diff", "nats", "Coding rate of all rows; grows with the width."),
    "R_same": ("r_same", "nats", "Mean coding rate within the classes; grows with the width."),
    "R_gap": ("r_gap", "nats", "Difference of the two; noise of the same width has one, too."),
    "erank": ("erank", "", "Effective rank of all rows."),
    "cos_sim": ("cos_sim", "degrees", "Angle of the mean cosine of rows paired by index; larger is further apart."),
    "pcc": ("pcc", "", "Mean product of scaled columns, rows paired by index; at most 1 / rows of a block."),
    "L2": ("l2", "activation units", "Mean Euclidean distance between blocks."),
    "L1": ("l1", "activation units", "Mean city-block distance between blocks."),
    "hausdorff": ("hausdorff", "activation units", "Hausdorff distance of the blocks."),
}


def profile_findings(layers: Sequence[Layer], classes: Classes, main: Site) -> list[Finding]:
    """Both measures at every site, less what shuffled classes give; those at `main` are the headline."""
    found: list[Finding] = []
    rows = len(classes.ids)
    for name, (told, unit) in MEASURES.items():
        estimates = [layer.rate if name == RATE else layer.energy for layer in layers]
        corrected = familywise_p([one.standard for one in estimates], [one.standard_null for one in estimates])
        for layer, estimate, p in zip(layers, estimates, corrected, strict=True):
            found.append(_finding(name, estimate, layer.site, rows, float(p), told, unit, layer.site == main))
    for layer in layers:
        for label, rank in zip(classes.names, layer.ranks, strict=True):
            found.append(
                Finding(
                    name=f"{RANK}: {label}",
                    value=rank,
                    count=int(classes.counts.min()),
                    site=layer.site,
                    unit="dimensions",
                )
            )
    return found


def length_findings(length: Estimate, rest: Estimate, main: Site, rows: int) -> list[Finding]:
    """How far the number of tokens parts the classes, and what remains at the headline's site without it."""
    told = "The energy coefficient of the number of tokens alone."
    p = permutation_p(length.value, length.null)
    control = _finding(LENGTH, length, None, rows, p, told, "", headline=False)
    told = "The rate reduction that remains when every activation is regressed on the number of tokens."
    p = permutation_p(rest.value, rest.null)
    return [
        control.model_copy(update={"evidence": "control"}),
        _finding(f"{RATE} beyond length", rest, main, rows, p, told, SHARE, headline=False),
    ]


def summary(findings: Sequence[Finding], classes: Classes, main: Site) -> str:
    here = {finding.name: finding for finding in findings if finding.headline or finding.name.endswith("length")}
    rate, apart = here[RATE], here[ENERGY]
    what = " and ".join(classes.names) if len(classes.names) == 2 else f"{len(classes.names)} classes"
    sure = rate.p is not None and rate.p <= 0.05
    told = (
        f"At layer {main.layer} ({main.position}), two thirds of the way up, the classes ({what}) explain "
        f"{100 * (rate.value or 0):.1f} % of the coding rate that classes without spread would "
        f"[{100 * (rate.low or 0):.1f}, {100 * (rate.high or 0):.1f}], "
        + ("more than shuffled classes" if sure else "no more than shuffled classes")
        + f"; distances within a class are {100 * (apart.value or 0):.1f} % shorter than between."
    )
    if (length := here.get(LENGTH)) and length.p is not None and length.p <= 0.05:
        rest = here[f"{RATE} beyond length"]
        told += f" The classes also differ in length; without what it explains, {100 * (rest.value or 0):.1f} % remain."
    return told


def published_findings(values: Published, site: Site, rows: int) -> list[Finding]:
    return [
        Finding(
            name=name,
            value=getattr(values, field),
            count=rows,
            site=site,
            unit=unit,
            summary=told,
            headline=name in ("R_gap", "L2"),
        )
        for name, (field, unit, told) in PUBLISHED.items()
    ]


def reference_summary(values: Published, site: Site) -> str:
    distance = "no distance (one class only)" if values.l2 is None else f"L2 {values.l2:.4g}"
    return (
        f"Published quantities at layer {site.layer}: R_gap {values.r_gap:.4g} (R_diff {values.r_diff:.4g}, "
        f"R_same {values.r_same:.4g}), {distance}."
    )


def _finding(
    name: str, estimate: Estimate, site: Site | None, rows: int, p: float, told: str, unit: str, headline: bool
) -> Finding:
    null_low, null_high = percentile_interval(estimate.null - estimate.null.mean())
    half = NORMAL * estimate.error
    return Finding(
        name=name,
        value=estimate.excess,
        low=estimate.excess - half if np.isfinite(half) else None,
        high=estimate.excess + half if np.isfinite(half) else None,
        null_low=null_low,
        null_high=null_high,
        p=p,
        count=rows,
        site=site,
        unit=unit,
        summary=told,
        headline=headline,
    )
