"""The causes as findings: how good the reading is, how many failures have which cause, and where they part."""

from __future__ import annotations

import numpy as np
from deepsight_probing import calibration_error, truthful_errors

from deepsight_core.crossfit import shuffled_labels
from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import cluster_means, percentile_interval, permutation_p, resampled_rows, wilson
from deepsight_root_cause.cases import Cases, Ints
from deepsight_root_cause.causes import CAUSES, READINGS
from deepsight_root_cause.recognition import Floats, Ranking, ranked
from deepsight_root_cause.study import Study

OUTCOMES = ((1, 1), (1, 0), (0, 1), (0, 0))
"""Harmful or not, refused or not."""
FEWEST_PARTED = 5
"""Failures that part, without which no layer is named."""


def recognition_findings(made: Study) -> list[Finding]:
    """How well the probe reads harm, and whether what it reads differs from what decides."""
    found = []
    if made.ranking is not None:
        layer = made.layers[made.recognised.usual]
        found.append(
            _auroc(
                "recognition",
                made.ranking,
                made.recognised_at,
                "Held-out harmful prompts lie above harmless ones with this probability; the layer was chosen by the "
                f"training samples, most often layer {layer}.",
            ).model_copy(update={"headline": True})
        )
    ceiling = "unknown" if made.ceiling is None else f"{made.ceiling:.2f}"
    found.append(
        Finding(
            name="cosine of harmfulness and refusal",
            value=made.cosine,
            null_high=made.ceiling,
            count=len(made.known.ids),
            site=made.decided_at,
            summary="Of the two directions, each at its own position; two estimates of one direction would have a "
            f"cosine of {ceiling} (from halves of the samples).",
        )
    )
    return found


def decision_findings(made: Study, score: Floats, permutations: int, resamples: int, seed: int) -> list[Finding]:
    """How well refusal coordinate and refusal score tell the refused from the answered prompts of one label."""
    known, found = made.known, []
    for name, values in (("refusal coordinate", made.decision), ("refusal score", score)):
        for label, kind in ((1, "harmful"), (0, "harmless")):
            rows = known.reported & (known.harmful == label)
            y, groups = known.refused[rows], known.groups[rows]
            labels = np.column_stack([y, shuffled_labels(y, groups, permutations, seed)])
            columns = np.repeat(values[rows][:, None], labels.shape[1], axis=1)
            ranking = ranked(columns, labels, known.fold[rows], groups, resamples, seed)
            if ranking is not None:
                summary = f"The refused among the {kind} prompts lie above the answered ones with this probability."
                found.append(_auroc(f"{name} of the refused, {kind}", ranking, made.decided_at, summary))
    return found


def calibration_findings(made: Study, resamples: int, seed: int) -> list[Finding]:
    """Whether the probabilities are what they say."""
    rows = made.known.reported
    probability, y, groups = made.recognised.probability[rows], made.known.harmful[rows], made.known.groups[rows]
    error = float(calibration_error(probability, y[:, None])[0])
    truthful = truthful_errors(probability, resamples, seed)
    squares = (probability - y) ** 2
    low, high = percentile_interval(cluster_means(squares, groups, resamples, seed))
    base = float(y.mean() * (1 - y.mean()))
    null_low, null_high = percentile_interval(truthful)
    return [
        Finding(
            name="calibration error",
            value=error,
            null_low=null_low,
            null_high=null_high,
            p=permutation_p(error, truthful),
            count=len(y),
            unit="ECE",
            summary="Mean gap between held-out probability and frequency over ten bins; the null band is what truthful "
            "probabilities would show on as many samples.",
        ),
        Finding(
            name="Brier score",
            value=float(squares.mean()),
            low=low,
            high=high,
            count=len(y),
            unit="squared probability",
            summary=f"Mean squared error of the held-out probabilities; saying the base rate gives {base:.3f}.",
        ),
    ]


def cause_findings(made: Study) -> list[Finding]:
    """The share of each cause among the failures of its kind."""
    known, found = made.known, []
    for label, named in CAUSES.items():
        rows = np.flatnonzero(known.reported & ~known.right & (known.harmful == label))
        kind = "harmful prompts that were answered" if label else "harmless prompts that were refused"
        for cause in named if len(rows) else ():
            mine = [row for row in rows if made.causes[row] == cause]
            low, high = _wilson(len(mine), rows, known)
            found.append(
                Finding(
                    name=f"{'harmful' if label else 'harmless'}: {cause}",
                    value=len(mine) / len(rows),
                    low=low,
                    high=high,
                    count=len(rows),
                    unit="share",
                    headline=True,
                    samples=tuple(known.ids[row] for row in mine),
                    summary=f"{len(mine)} of {len(rows)} {kind}.",
                )
            )
    return found


def matrix(made: Study) -> tuple[list[Finding], Heatmap]:
    """Every outcome by every reading, also of the prompts that went right: what the causes are to be compared with."""
    known = made.known
    found, cells, names = [], [], []
    for harmful, refused in OUTCOMES:
        rows = np.flatnonzero(known.reported & (known.harmful == harmful) & (known.refused == refused))
        outcome = f"{'harmful' if harmful else 'harmless'}, {'refused' if refused else 'answered'}"
        counts = [sum(made.read[row] == reading for row in rows) for reading in READINGS]
        names.append(f"{outcome} ({len(rows)})")
        cells.append(tuple(count / len(rows) if len(rows) else None for count in counts))
        for reading, count in zip(READINGS, counts, strict=True):
            low, high = _wilson(count, rows, known) if len(rows) else (None, None)
            found.append(
                Finding(
                    name=f"{outcome}: {reading}",
                    value=count / len(rows) if len(rows) else None,
                    low=low,
                    high=high,
                    count=len(rows),
                    unit="share",
                    summary=f"{count} of {len(rows)}.",
                )
            )
    figure = Heatmap(
        name="causes",
        caption="What the model did (rows, with counts) by what the held-out probe reads in it (columns); rows add up "
        "to 1.",
        x="reading of the request as harmful",
        y="outcome",
        rows=tuple(names),
        columns=READINGS,
        values=tuple(cells),
        unit="share",
    )
    return found, figure


def parting_findings(made: Study, resamples: int, seed: int) -> list[Finding]:
    """Where failures leave the band of the prompts that went right, and how often right ones do by luck."""
    known, part, found = made.known, made.parting, []
    for label in part.bands:
        kind = "harmful" if label else "harmless"
        mine = known.reported & (known.harmful == label)
        failed, right = (np.flatnonzero(mine & side) for side in (~known.right, known.right))
        luck = float((part.layers[right] >= 0).mean())
        if not len(failed):
            continue
        parted = failed[part.layers[failed] >= 0]
        low, high = _wilson(len(parted), failed, known)
        found.append(
            Finding(
                name=f"{kind} failures that part from the right ones",
                value=len(parted) / len(failed),
                low=low,
                high=high,
                null_high=luck,
                count=len(failed),
                unit="share",
                samples=tuple(known.ids[row] for row in parted),
                summary=f"{len(parted)} of {len(failed)} stay outside the 95 % band of the {len(right)} that went "
                f"right up to the last layer; of those themselves {luck:.1%} do, each against the others.",
            )
        )
        if label:
            found.append(_decision(made, failed, low > luck, resamples, seed))
    return found


def trajectory_findings(made: Study, resamples: int, seed: int) -> list[Finding]:
    """Mean refusal coordinate of the failures, layer by layer, beside the band of the right ones."""
    known, found = made.known, []
    for label, (lows, highs) in made.parting.bands.items():
        rows = np.flatnonzero(known.reported & ~known.right & (known.harmful == label))
        for column, layer in enumerate(made.layers) if len(rows) else ():
            here = made.refusal.values[rows, column]
            low, high = percentile_interval(cluster_means(here, known.groups[rows], resamples, seed))
            found.append(
                Finding(
                    name=f"refusal coordinate of {'harmful' if label else 'harmless'} failures",
                    value=float(here.mean()),
                    low=low,
                    high=high,
                    null_low=float(lows[column]),
                    null_high=float(highs[column]),
                    count=len(rows),
                    site=Site(kind="resid_out", layer=layer, position="last"),
                    unit="within-class spreads",
                    summary="The band is that of the prompts that went right.",
                )
            )
    return found


def _decision(made: Study, failed: Ints, beyond_luck: bool, resamples: int, seed: int) -> Finding:
    """The middle layer of those at which the harmful failures part, for a run's agreement panel."""
    mine = failed[made.parting.layers[failed] >= 0]
    if len(mine) < FEWEST_PARTED or not beyond_luck:
        summary = "Too few harmful failures part from the refused prompts, or no more than luck gives."
        return Finding(name="decision layer", value=None, unit="layer", summary=summary)
    at = np.array(made.layers)[made.parting.layers[mine]]
    draws = [np.median(at[draw]) for draw in resampled_rows(made.known.groups[mine], resamples, seed)]
    low, high = percentile_interval(draws)
    return Finding(
        name="decision layer",
        value=float(np.median(at)),
        low=low,
        high=high,
        count=len(mine),
        site=Site(kind="resid_out", layer=int(np.median(at)), position="last"),
        unit="layer",
        summary="Median over the harmful failures that part of the first layer from which the refusal coordinate stays "
        "below the 95 % band of the refused ones.",
    )


def _auroc(name: str, ranking: Ranking, site: Site, summary: str) -> Finding:
    low, high = ranking.interval
    null_low, null_high = percentile_interval(ranking.null)
    return Finding(
        name=f"{name} auroc",
        value=ranking.value,
        low=low,
        high=high,
        null_low=null_low,
        null_high=null_high,
        p=ranking.p,
        count=ranking.count,
        site=site,
        unit="AUROC",
        summary=summary,
    )


def _wilson(count: int, rows: Ints, known: Cases) -> tuple[float, float]:
    """Of a share of rows, with clusters as the count."""
    clusters = len(np.unique(known.groups[rows]))
    return wilson(count / len(rows) * clusters, clusters)
