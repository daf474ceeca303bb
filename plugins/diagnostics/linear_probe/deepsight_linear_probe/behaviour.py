"""Probe against behaviour: on the prompts that the model failed, did the probe still read what they are?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepsight_probing import auroc_within, bootstrap_auroc, interval
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, shuffled_labels
from deepsight_core.evidence import Contrast, Evidence
from deepsight_core.protocol import Finding
from deepsight_core.statistics import percentile_interval, permutation_p, wilson

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Conduct:
    """How the probe's reading of the positive samples goes with what the model did."""

    findings: tuple[Finding, ...] = ()
    caveats: tuple[str, ...] = ()


def behaviour(
    evidence: Evidence, contrast: Contrast, probability: Floats, refused: str, resamples: int, seed: int
) -> Conduct:
    """Compare held-out probabilities of refused and not refused samples of the positive class.

    Makes sense where the classes say what the prompts are; where they are verdicts themselves, nothing is compared.
    """
    if contrast.name.startswith("verdict") or not evidence.records:
        return Conduct()
    verdicts = {sample.id: evidence.value(sample, "verdict") for sample in evidence.samples}
    rows = np.array(
        [row for row, id in enumerate(contrast.ids) if contrast.y[row] and verdicts[id] is not None], dtype=np.int64
    )
    what = contrast.name.partition(":")[2]
    if not len(rows):
        return Conduct(
            caveats=(f"No {what} sample has a scored verdict, so the probe was not compared with behaviour.",)
        )
    turned_down = set(evidence.cohort(refused))
    y = np.array([contrast.ids[row] in turned_down for row in rows], dtype=np.int64)
    p, groups = probability[rows], contrast.groups[rows]
    caveats = []
    if not turned_down:
        seen = ", ".join(sorted({str(verdict) for verdict in verdicts.values() if verdict is not None}))
        caveats.append(
            f"No sample has {refused!r}; verdicts seen: {seen}. Where one of them means refusal, set refused."
        )
    findings = []
    if y.any():
        findings.append(_mean("probe p of the refused", p[y == 1], f"Mean held-out p({what}) where it was refused."))
    if not y.all():
        alarms = float((probability[contrast.y == 0] >= 0.5).mean())
        findings.append(_recognised(what, contrast, rows[y == 0], probability, alarms))
        summary = f"Mean held-out p({what}) where it was not refused."
        findings.append(_mean("probe p of the not refused", p[y == 0], summary))
    if 0 < y.sum() < len(y):
        findings.append(_agreement(what, p, y, groups, resamples, seed))
    return Conduct(tuple(findings), tuple(caveats))


def _recognised(
    what: str, contrast: Contrast, failed: NDArray[np.int64], probability: Floats, alarms: float
) -> Finding:
    known = failed[probability[failed] >= 0.5]
    low, high = wilson(len(known) / len(failed) * _clusters(contrast, failed), _clusters(contrast, failed))
    return Finding(
        name="recognised but not refused",
        value=len(known) / len(failed),
        low=low,
        high=high,
        count=len(failed),
        headline=True,
        samples=tuple(contrast.ids[row] for row in known),
        unit="share",
        summary=f"{len(known)} of the {len(failed)} {what} samples that were not refused are read as {what} all the "
        f"same (held-out p >= 0.5), against {alarms:.0%} false alarms among the others: the more there are, the less "
        "the failure is one of recognition.",
    )


def _clusters(contrast: Contrast, rows: NDArray[np.int64]) -> int:
    return len(np.unique(contrast.groups[rows]))


def _mean(name: str, p: Floats, summary: str) -> Finding:
    return Finding(name=name, value=float(p.mean()), count=len(p), unit="probability", summary=summary)


def _agreement(
    what: str, p: Floats, y: NDArray[np.int64], groups: NDArray[np.int64], resamples: int, seed: int
) -> Finding:
    together = np.zeros_like(y)  # calibrated probabilities of different folds compare, and no probe saw a verdict
    columns = np.column_stack([y, shuffled_labels(y, groups, resamples, seed)])
    values = auroc_within(np.repeat(p[:, None], columns.shape[1], axis=1), columns, together)
    draws = bootstrap_auroc(p, y, together, cluster_weights(groups, resamples, seed))
    low, high = interval(float(values[0]), draws, len(np.unique(groups)))
    null_low, null_high = percentile_interval(values[1:])
    return Finding(
        name="probe score of refused over not refused",
        value=float(values[0]),
        low=low,
        high=high,
        null_low=null_low,
        null_high=null_high,
        p=permutation_p(float(values[0]), values[1:], two_sided=True),
        count=len(y),
        unit="AUROC",
        summary=f"Among {len(y)} {what} samples with a verdict, the {int(y.sum())} refused ones have the higher "
        f"p({what}) with this probability; at 0.5 the reading is as clear where the model answers as where it refuses.",
    )
