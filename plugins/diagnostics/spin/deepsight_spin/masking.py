"""What happens without the coupled weights: the evaluation once more, and once more without as many others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from deepsight_core.evidence import Evidence, Repeat
from deepsight_core.inside import Inside
from deepsight_core.protocol import Finding, Record
from deepsight_core.statistics import cluster_means, mcnemar, percentile_interval, sign_flip
from deepsight_core.weights import Importance, Place
from deepsight_spin.overlap import Bools, Ints

Entries = Mapping[Place, Ints]
Evident = Literal["intervention", "control"]
SHARE = "share of samples"


def entries(importance: Importance, chosen: Sequence[Bools]) -> Entries:
    """The chosen entries, by matrix."""
    return {
        matrix.place: places[mask]
        for matrix, places, mask in zip(importance.matrices, importance.indices, chosen, strict=True)
        if mask.any()
    }


def others(importance: Importance, taken: Entries, seed: int) -> Entries:
    """As many entries of the same matrices, drawn at random from those that are not taken."""
    rng = np.random.default_rng(seed)
    sizes = {matrix.place: matrix.size for matrix in importance.matrices}
    drawn = {}
    for place, indices in taken.items():
        count = min(len(indices), sizes[place] - len(indices))
        enough = rng.choice(sizes[place], size=count + len(indices), replace=False)
        drawn[place] = np.sort(enough[~np.isin(enough, indices)][:count])
    return drawn


def effects(
    evidence: Evidence, inside: Inside, importance: Importance, chosen: Sequence[Bools], seed: int
) -> list[Finding]:
    """How answers and verdicts change without these weights, and without as many random ones of the same matrices.
    Needs `evidence.again`."""
    assert evidence.again is not None
    coupled = entries(importance, chosen)
    control = others(importance, coupled, seed)
    masked = evidence.again("without the coupled weights", inside.masked(coupled))
    random = evidence.again("without random weights", inside.masked(control))
    zeroed = sum(map(len, coupled.values()))
    return [
        *changes(masked, evidence.judge, f"{zeroed} coupled weights", "intervention"),
        *changes(random, evidence.judge, f"{sum(map(len, control.values()))} random weights", "control"),
    ]


def changes(repeat: Repeat, judge: str | None, zeroed: str, evidence: Evident) -> Iterator[Finding]:
    """How many answers read otherwise, and, one finding a verdict, by how much its share among the samples scored both
    times changed.

    Intervals are bootstraps of whole clusters. p is McNemar's exact test, or, where clusters hold several samples, a
    test that flips the signs of whole clusters.
    """
    control = "control: " if evidence == "control" else ""
    both = list(zip(repeat.before, repeat.after, strict=True))
    other = np.array([record.output.text != after.output.text for record, after in both], dtype=np.float64)
    low, high = percentile_interval(cluster_means(other, [_cluster(record) for record, _ in both]))
    yield Finding(
        name=f"{control}answers that changed",
        value=float(other.mean()),
        low=low,
        high=high,
        count=len(both),
        unit=SHARE,
        summary=f"With {zeroed} at zero, this share of the answers is not the same text.",
        evidence=evidence,
    )
    pairs = [
        (a, b, record)
        for record, after in both
        if (a := _label(record, judge)) is not None and (b := _label(after, judge)) is not None
    ]
    clusters = [_cluster(record) for _, _, record in pairs]
    single = len(set(clusters)) == len(clusters)
    lost = len(both) - len(pairs)
    for label in sorted({label for a, b, _ in pairs for label in (a, b)}):
        before = np.array([a == label for a, _, _ in pairs])
        after = np.array([b == label for _, b, _ in pairs])
        difference = after.astype(np.float64) - before
        low, high = percentile_interval(cluster_means(difference, clusters))
        discordant = int((before & ~after).sum()), int((after & ~before).sum())
        yield Finding(
            name=f"{control}change of {label}",
            value=float(difference.mean()),
            low=low,
            high=high,
            p=mcnemar(*discordant) if single else sign_flip(difference, clusters),
            count=len(pairs),
            unit=SHARE,
            summary=(
                f"With {zeroed} at zero, {after.mean():.1%} of the answers are {label!r} instead of {before.mean():.1%}"
                + (f"; {lost} samples were not scored both times." if lost else ".")
            ),
            evidence=evidence,
            samples=tuple(record.id for a, b, record in pairs if (a == label) != (b == label)),
        )


def _cluster(record: Record) -> str:
    return f"{record.dataset}/{record.sample.cluster}"


def _label(record: Record, judge: str | None) -> str | None:
    judgement = record.judgement(judge)
    return judgement.label if judgement is not None and judgement.status == "scored" else None
