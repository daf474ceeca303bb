"""The published quantities, by the published rules and under their names."""

from __future__ import annotations

from math import log

import numpy as np

from deepsight_core.protocol import Finding, Site
from deepsight_spin.overlap import Overlap, Scores

RATIO = "fairness_privacy_neurons_coupling_ratio"
RATE = "coupled_rate_vs_candidate_mean"
SHARE = 5e-7
"""The published share of each matrix's weights."""


def findings(scores: Scores, overlap: Overlap, examples: int) -> list[Finding]:
    """Totals, then the profile over layers. Where nothing was selected, ratio and rate are None."""
    candidates = (int(overlap.first.sum()) + int(overlap.second.sum())) / 2
    coupled = int(overlap.coupled.sum())
    ratio = overlap.ratio
    index = log(ratio) if ratio else None
    totals = [
        Finding(name=RATIO, value=ratio, count=examples, headline=True, summary="Coupled weights by all weights."),
        Finding(name=RATE, value=coupled / candidates if candidates else None, count=examples),
        Finding(name="coupling index", value=index, count=examples, summary="The natural logarithm of the ratio."),
        Finding(name="candidate_dataset1", value=int(overlap.first.sum()), unit="weights"),
        Finding(name="candidate_dataset2", value=int(overlap.second.sum()), unit="weights"),
        Finding(name="coupled", value=coupled, unit="weights"),
        Finding(name="total_neurons", value=int(overlap.sizes.sum()), unit="weights"),
    ]
    profile = []
    for layer in np.unique(scores.layers):
        here, site = overlap.of(scores.layers == layer), Site(kind="weights", layer=int(layer))
        profile += [
            Finding(name="coupled in layer", value=int(here.coupled.sum()), site=site, unit="weights"),
            Finding(name="coupling ratio of layer", value=here.ratio, site=site),
        ]
    return [*totals, *profile]


def summary(overlap: Overlap, share: float) -> str:
    """What the published numbers say, and how little they may rest on."""
    if overlap.ratio is None:
        return f"By the published rules no weight is selected: a share of {share:g} of every matrix is less than one."
    first, second, coupled = (int(x.sum()) for x in (overlap.first, overlap.second, overlap.coupled))
    ceiling = int(np.minimum(overlap.first, overlap.second).sum()) / int(overlap.sizes.sum())
    return (
        f"By the published rules {coupled} of {first} and {second} candidate weights coincide: coupling ratio "
        f"{overlap.ratio:.3g}, of {ceiling:.3g} at most."
    )
