"""Cohorts side by side: pairs, a part held out, and whether they differ already in length or in how they begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Finding, Sample, short_hash
from deepsight_core.statistics import auroc, percentile_interval, resampled_rows, wilson

Floats = NDArray[np.float64]

OPENING = 2
"""Words by which a prompt's beginning is known."""


def pairs(evidence: Evidence, one: Sequence[str], other: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Ids of the first cohort with ids of the second that the data put into the same group, each id at most once, in
    the order of the evidence. Empty where the data do not pair them."""
    waiting: dict[str, list[str]] = {}
    seconds = set(other)
    for sample in evidence.samples:
        if sample.id in seconds and sample.group is not None:
            waiting.setdefault(sample.group, []).append(sample.id)
    firsts = set(one)
    found = []
    for sample in evidence.samples:
        if sample.id in firsts and sample.group is not None:
            left = waiting.get(sample.group, [])
            if partner := next((id for id in left if id != sample.id), None):
                left.remove(partner)
                found.append((sample.id, partner))
    return tuple(found)


def held_out(
    evidence: Evidence, ids: Sequence[str], share: float = 0.5, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids to fit on and those held out, about `share` of the clusters. A hash of the cluster's name decides: no
    cluster is on both sides, two cohorts are split alike, and samples that are added move nobody. Either side of a
    small cohort may be empty."""
    clusters = {sample.id: sample.cluster for sample in evidence.samples}
    out = {id for id in ids if short_hash(f"{seed}/{clusters[id]}") / 2**64 < share}
    return tuple(id for id in ids if id not in out), tuple(id for id in ids if id in out)


def surface(
    evidence: Evidence, cohorts: Mapping[str, Sequence[str]], resamples: int = 1000, seed: int = 0
) -> tuple[Finding, ...]:
    """What tells two cohorts apart without looking inside: their sizes, mean lengths and openings, as findings of the
    kind "control". `cohorts` gives the ids of two by their names.

    Lengths are tokens of the prompts where all are known (template included), else words of the user. Intervals are
    percentiles over draws of whole clusters of both cohorts together, so that pairs stay pairs. Raises DiagnosticError
    when a cohort is empty.
    """
    (one, first), (other, second) = cohorts.items()
    for name, ids in cohorts.items():
        if not ids:
            raise DiagnosticError(f"no sample is {name!r}, so there is nothing to compare it with")
    known = {sample.id: sample for sample in evidence.samples}
    samples = [known[id] for id in (*first, *second)]
    y = np.r_[np.ones(len(first), dtype=np.int64), np.zeros(len(second), dtype=np.int64)]
    values, unit = _lengths(evidence, samples)
    draws = list(resampled_rows([sample.cluster for sample in samples], resamples, seed))
    named = ((one, y == 1), (other, y == 0))
    return (
        *(_size(name, [s for s, mine in zip(samples, rows, strict=True) if mine]) for name, rows in named),
        *(_mean(name, values, rows, draws, unit) for name, rows in named),
        *_contrast(one, other, values, y, draws, unit),
        *_openings(named, samples),
    )


def _lengths(evidence: Evidence, samples: Sequence[Sample]) -> tuple[Floats, str]:
    tokens = [record.output.tokens_in if (record := evidence.record(s.id)) else 0 for s in samples]
    if all(tokens):
        return np.array(tokens, dtype=np.float64), "tokens"
    return np.array([len(_words(sample).split()) for sample in samples], dtype=np.float64), "words"


def _size(name: str, samples: Sequence[Sample]) -> Finding:
    clusters = len({sample.cluster for sample in samples})
    return Finding(
        name=f"control: size of {name}",
        value=len(samples),
        count=len(samples),
        unit="samples",
        evidence="control",
        samples=tuple(sample.id for sample in samples),
        summary=f"{len(samples)} samples in {clusters} clusters.",
    )


def _mean(name: str, values: Floats, rows: NDArray[np.bool_], draws: Sequence[NDArray[np.int64]], unit: str) -> Finding:
    means = [values[draw[rows[draw]]].mean() for draw in draws if rows[draw].any()]
    low, high = percentile_interval(means)
    return Finding(
        name=f"control: length of {name}",
        value=float(values[rows].mean()),
        low=low,
        high=high,
        count=int(rows.sum()),
        unit=unit,
        evidence="control",
    )


def _contrast(
    one: str, other: str, values: Floats, y: NDArray[np.int64], draws: Sequence[NDArray[np.int64]], unit: str
) -> Iterator[Finding]:
    both = [draw for draw in draws if 0 < y[draw].sum() < len(draw)]
    gaps = [values[draw[y[draw] == 1]].mean() - values[draw[y[draw] == 0]].mean() for draw in both]
    ranks = [auroc(values[draw], y[draw]) for draw in both]
    for name, value, drawn, what in (
        ("length difference", float(values[y == 1].mean() - values[y == 0].mean()), gaps, unit),
        ("length alone", auroc(values, y), ranks, "AUROC"),
    ):
        low, high = percentile_interval(drawn)
        yield Finding(
            name=f"control: {name}, {one} against {other}",
            value=value,
            low=low,
            high=high,
            count=len(y),
            unit=what,
            evidence="control",
            summary="0.5 says that length tells nothing." if what == "AUROC" else "",
        )


def _openings(named: Sequence[tuple[str, NDArray[np.bool_]]], samples: Sequence[Sample]) -> Iterator[Finding]:
    """How much of each cohort begins alike: a shared template may stand for what is looked for."""
    openings = [" ".join(_words(sample).lower().split()[:OPENING]) for sample in samples]
    for name, rows in named:
        mine = [opening for opening, inside in zip(openings, rows, strict=True) if inside]
        ((most, count),) = Counter(mine).most_common(1)
        elsewhere = [opening for opening, inside in zip(openings, rows, strict=True) if not inside]
        low, high = wilson(count, len(mine))
        yield Finding(
            name=f"control: commonest opening of {name}",
            value=count / len(mine),
            low=low,
            high=high,
            count=len(mine),
            unit="share",
            evidence="control",
            summary=f"{most!r} begins {count} of {len(mine)}, and {elsewhere.count(most)} of the {len(elsewhere)} "
            "others. The interval takes samples as independent.",
        )


def _words(sample: Sample) -> str:
    return "\n".join(message.text for message in sample.messages if message.role == "user")
