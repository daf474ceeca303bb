"""The study as findings: profiles over the layers, the headline, the controls, and one sentence for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from deepsight_probing import calibration_error, truthful_errors
from numpy.typing import NDArray

from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval, permutation_p, wilson
from deepsight_linear_probe.study import Chosen, Design, Probed, Reading

Floats = NDArray[np.float64]

DECIDING = "last"
"""Where the answer's first token is decided."""
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""


def profile_findings(sites: Sequence[Probed], plan: Design) -> list[Finding]:
    """AUROC, accuracy and the difference-of-means AUROC of every site, and where each position first comes close."""
    found = []
    trained = familywise_p([s.ridge.value for s in sites], [s.ridge.null for s in sites])
    plain = familywise_p([s.means.value for s in sites], [s.means.null for s in sites])
    for probed, p_trained, p_plain in zip(sites, trained, plain, strict=True):
        right = float(((probed.fit.probability >= 0.5) == plan.y).mean())
        low, high = wilson(right * plan.clusters, plan.clusters)
        found += [
            _auroc("auroc", probed.ridge, p=float(p_trained), site=probed.site),
            Finding(
                name="accuracy", value=right, low=low, high=high, count=len(plan.y), site=probed.site, unit="share"
            ),
            _auroc("difference-of-means auroc", probed.means, p=float(p_plain), site=probed.site),
        ]
    for position in dict.fromkeys(probed.site.position for probed in sites):
        here = [probed for probed in sites if probed.site.position == position]
        found.append(_first_close(here))
        if position == DECIDING:
            found.append(_decision(here, bool(trained.min() <= SIGNIFICANT)))
    return found


def headline_findings(
    what: str, chosen: Chosen, usual: Site, lexical: Mapping[str, Reading], plan: Design, seed: int
) -> list[Finding]:
    """What a reader should take away: held-out AUROC, the gain over the surface of the text, and what luck yields."""
    reading = chosen.reading
    rival, best = max(lexical.items(), key=lambda item: item[1].value)
    gain_low, gain_high = percentile_interval(reading.draws - best.draws)
    by_luck = float(reading.null.mean())
    low, high = reading.interval
    return [
        _auroc(
            "held-out auroc",
            reading,
            p=permutation_p(reading.value, reading.null),
            site=usual,
            headline=True,
            summary=f"Held-out samples that are {what} and samples that are not are ranked rightly with this "
            f"probability; the layer was chosen inside the cross-validation, most often layer {usual.layer} at the "
            f"position {usual.position!r}.",
        ),
        Finding(
            name="gain over words and length",
            value=reading.value - best.value,
            low=gain_low,
            high=gain_high,
            count=len(plan.y),
            site=usual,
            unit="AUROC",
            headline=True,
            summary=f"What the activations add to the better of the two surface controls, {rival} ({best.value:.3f}), "
            "on the same folds and bootstrap draws.",
        ),
        Finding(
            name="selectivity",
            value=reading.value - by_luck,
            low=low - by_luck,
            high=high - by_luck,
            count=len(plan.y),
            site=usual,
            unit="AUROC",
            summary="Held-out AUROC less the mean of the same procedure under shuffled labels.",
        ),
        _calibration(chosen, plan, seed),
    ]


def control_findings(
    chosen: Chosen,
    usual: Site,
    lexical: Mapping[str, Reading],
    embeddings: Sequence[tuple[Probed, bool]],
    directions: Floats,
) -> list[Finding]:
    """What the same procedure yields where there is nothing to find, or nothing but the surface."""
    null = chosen.reading.null
    low, high = percentile_interval(null)
    found = [
        Finding(
            name="control: shuffled labels",
            value=float(null.mean()),
            null_low=low,
            null_high=high,
            count=len(null),
            unit="AUROC",
            evidence="control",
            summary="Mean and 95 % band over shuffled labellings, the choice of layer and penalty made anew in each.",
        ),
        Finding(
            name="control: random directions",
            value=float(directions.mean()),
            null_high=float(np.quantile(directions, 0.95)),
            count=len(directions),
            site=usual,
            unit="AUROC",
            evidence="control",
            summary="Mean and 95 % quantile of projections on random directions, each turned to its better side.",
        ),
    ]
    for name, reading in lexical.items():
        p = permutation_p(reading.value, reading.null)
        summary = f"The same probe on the same folds, given the {name} instead of activations."
        found.append(_auroc(f"control: {name}", reading, p=p, evidence="control", summary=summary))
    for probed, constant in embeddings:
        summary = (
            "Leak check: every prompt has the same token here, so a sound procedure gives exactly 0.5."
            if constant
            else "Before any layer: what the identity of the token at this position gives away."
        )
        found.append(
            Finding(
                name="control: embedding",
                value=probed.ridge.value,
                count=len(probed.ridge.scores),
                site=probed.site,
                unit="AUROC",
                evidence="control",
                summary=summary,
            )
        )
    return found


def conclusion(what: str, headlines: Sequence[Finding], conduct: Sequence[Finding]) -> str:
    """Two or three sentences that claim what was shown and no more."""
    held_out, gain = headlines[:2]
    beyond = gain.low is not None and gain.low > 0
    by_luck = held_out.p is not None and held_out.p > SIGNIFICANT
    sentences = [
        f"A linear probe ranks held-out samples that are {what} above others with AUROC {_shown(held_out)}"
        + (", which is within what shuffled labels give." if by_luck else "."),
        f"That is {gain.value:+.3f} [{gain.low:.3f}, {gain.high:.3f}] against words and length alone"
        + ("." if beyond else ": no more than the surface of the text is shown to be read."),
    ]
    sentences += [finding.summary for finding in conduct if finding.headline]
    return " ".join(sentences)


def _auroc(name: str, reading: Reading, **fields: object) -> Finding:
    (low, high), (null_low, null_high) = reading.interval, reading.band
    known = {"low": low, "high": high, "null_low": null_low, "null_high": null_high, "unit": "AUROC"}
    return Finding.model_validate(
        {"name": name, "value": reading.value, "count": len(reading.scores), **known, **fields}
    )


def _margin(sites: Sequence[Probed]) -> tuple[Probed, float]:
    """The best site and one standard error of its AUROC."""
    best = max(sites, key=lambda probed: probed.ridge.value)
    low, high = best.ridge.interval
    return best, (high - low) / (2 * 1.96)


def _decision(sites: Sequence[Probed], significant: bool) -> Finding:
    """The elbow of the profile, with its place in every bootstrap draw."""
    if not significant:
        summary = "No layer is read beyond what shuffled labels give, so the profile has no elbow."
        return Finding(name="decision layer", value=None, unit="layer", summary=summary)
    best, margin = _margin(sites)
    values = np.array([[probed.ridge.value, *probed.ridge.draws] for probed in sites])
    layers = np.array([probed.site.layer for probed in sites])[np.argmax(values >= values.max(axis=0) - margin, axis=0)]
    low, high = percentile_interval(layers[1:])
    return Finding(
        name="decision layer",
        value=float(layers[0]),
        low=low,
        high=high,
        count=len(best.ridge.scores),
        site=Site(kind="resid_out", layer=int(layers[0]), position=DECIDING),
        unit="layer",
        summary="The probe's elbow: the first layer within one standard error of the best, here and in the bootstrap "
        "draws. What can be read there need not be what decides.",
    )


def _first_close(sites: Sequence[Probed]) -> Finding:
    best, margin = _margin(sites)
    first = next(probed for probed in sites if probed.ridge.value >= best.ridge.value - margin)
    return Finding(
        name="first layer within one standard error",
        value=first.site.layer,
        count=len(first.ridge.scores),
        site=first.site,
        unit="layer",
        summary=f"AUROC {first.ridge.value:.3f}; the best, {best.ridge.value:.3f}, is at layer {best.site.layer}.",
    )


def _calibration(chosen: Chosen, plan: Design, seed: int) -> Finding:
    p = chosen.selected.probability
    value = float(calibration_error(p, plan.y[:, None])[0])
    null = truthful_errors(p, len(plan.weights), seed)
    low, high = percentile_interval(null)
    return Finding(
        name="calibration error",
        value=value,
        null_low=low,
        null_high=high,
        p=permutation_p(value, null),
        count=len(p),
        unit="ECE",
        summary="Mean gap between held-out probability and frequency over ten bins; the null band is what truthful "
        "probabilities would show on as many samples.",
    )


def _shown(finding: Finding) -> str:
    return f"{finding.value:.3f} [{finding.low:.3f}, {finding.high:.3f}]"
