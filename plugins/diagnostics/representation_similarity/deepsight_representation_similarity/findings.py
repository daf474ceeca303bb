"""What was measured as findings and maps, and sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepsight_core.crossfit import familywise_p
from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval
from deepsight_representation_similarity.cka import Floats
from deepsight_representation_similarity.study import NORMAL, Estimate

CKA, OVERLAP = "CKA", "mean squared cosine"
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of a difference."""


def layer_map(name: str, values: Floats, rows: Sequence[int], columns: Sequence[int], caption: str) -> Heatmap:
    return Heatmap(
        name=name,
        caption=f"{caption} Debiased CKA: 1 for the same up to rotation and scale, 0 for nothing in common.",
        x="layer",
        y="layer",
        rows=tuple(str(layer) for layer in rows),
        columns=tuple(str(layer) for layer in columns),
        values=tuple(tuple(float(value) for value in row) for row in values),
        unit=CKA,
    )


def neighbours(found: Estimate | None, layers: Sequence[int], count: int) -> Iterator[Finding]:
    if found is not None:
        yield from _profile("similarity with the next layer", found, layers[:-1], count, CKA, None)


def structure(found: Estimate, layers: Sequence[int], count: int, sides: tuple[str, str]) -> Iterator[Finding]:
    """How much of the arrangement of the samples is that of the two sides."""
    name = f"structure by {sides[0]}"
    told = "CKA with the labels: the part of the similarity of samples that being on one side explains."
    yield from _profile(name, found, layers, count, CKA, corrected(found), told)


def twins(found: Estimate, layers: Sequence[int], count: int, sides: tuple[str, str]) -> Iterator[Finding]:
    name = f"similarity of {sides[0]} samples and their twins"
    told = "Whether samples of one side are arranged as their twins are. Null: twins exchanged."
    yield from _profile(name, found, layers, count, CKA, corrected(found), told)


def models(found: Estimate, layers: Sequence[int], count: int) -> Iterator[Finding]:
    told = "The same layer of both models. Null: samples of the reference exchanged."
    yield from _profile("similarity of target and reference", found, layers, count, CKA, None, told, headline=True)


def spaces(found: Estimate, layers: Sequence[int], count: int, sides: tuple[str, str], k: int) -> Iterator[Finding]:
    """The p value is of an overlap as small as this: subspaces of shuffled sides overlap more."""
    assert found.null is not None
    name = f"overlap of the subspaces of {sides[0]} and {sides[1]}"
    turned = Estimate(-found.value, found.error, -found.null)
    told = f"{k} principal components of each side. p: that shuffled sides overlap as little."
    yield from _profile(name, found, layers, count, OVERLAP, corrected(turned), told)


def model_spaces(
    values: Sequence[float], layers: Sequence[int], count: int, k: int, chance: float
) -> Iterator[Finding]:
    for layer, value in zip(layers, values, strict=False):
        yield Finding(
            name="overlap of the subspaces of target and reference",
            value=value,
            count=count,
            site=_site(layer),
            unit=OVERLAP,
            summary=f"{k} principal components of each; {chance:.3f} is expected of subspaces at random.",
        )


def dimensions(
    found: Mapping[str, Sequence[tuple[float | None, float | None, int]]], layers: Sequence[int]
) -> Iterator[Finding]:
    for name, estimates in found.items():
        for layer, (value, error, count) in zip(layers, estimates, strict=True):
            known = value is not None and error is not None
            yield Finding(
                name=f"intrinsic dimension: {name}",
                value=value,
                low=value - NORMAL * error if known and value is not None and error is not None else None,
                high=value + NORMAL * error if known and value is not None and error is not None else None,
                count=count,
                site=_site(layer),
                unit="dimensions",
                summary="TwoNN; the interval is of its likelihood, and takes samples as independent."
                if known
                else "Too few distinct samples.",
            )


def corrected(found: Estimate) -> Floats:
    """One-sided p values, corrected for all layers, in standard deviations of each layer's null."""
    assert found.null is not None
    spread = found.null.std(axis=1, keepdims=True)
    size = np.where(spread > 1e-12, spread, np.inf)
    centre = found.null.mean(axis=1, keepdims=True)
    return familywise_p(((found.value[:, None] - centre) / size)[:, 0], (found.null - centre) / size)


def parted(found: Estimate, layers: Sequence[int], same: float) -> int | None:
    """The first layer whose interval lies below `same`."""
    return next((layer for layer, high in zip(layers, found.high, strict=False) if high < same), None)


def told_models(found: Estimate, layers: Sequence[int], same: float) -> str:
    least = int(np.argmin(found.value))
    first = parted(found, layers, same)
    if first is None:
        return (
            f"Target and reference represent the samples alike at every layer (CKA at least {found.value[least]:.3f})."
        )
    return (
        f"Target and reference part at layer {first} (the first whose CKA is below {same:g} with its whole interval); "
        f"they are least alike at layer {layers[least]}, CKA {found.value[least]:.3f} "
        f"[{found.low[least]:.3f}, {found.high[least]:.3f}]."
    )


def told_structure(found: Estimate, layers: Sequence[int], sides: tuple[str, str]) -> str:
    sure = [layer for layer, p in zip(layers, corrected(found), strict=True) if p <= SIGNIFICANT]
    if not sure:
        return f"At no layer are samples arranged by whether they are {sides[0]} more than under shuffled labels."
    most = int(np.argmax(found.value))
    return (
        f"Samples are arranged by whether they are {sides[0]} at {len(sure)} of {len(layers)} layers, most at layer "
        f"{layers[most]}: CKA with the labels {found.value[most]:.3f} [{found.low[most]:.3f}, {found.high[most]:.3f}]."
    )


def _site(layer: int) -> Site:
    return Site(kind="resid_out", layer=layer)


def _profile(
    name: str,
    found: Estimate,
    layers: Sequence[int],
    count: int,
    unit: str,
    p: Floats | None,
    told: str = "",
    headline: bool = False,
) -> Iterator[Finding]:
    least = int(np.argmin(found.value))
    for row, (layer, value) in enumerate(zip(layers, found.value, strict=True)):
        low, high = (float(bound[row]) if np.isfinite(bound[row]) else None for bound in (found.low, found.high))
        band = (None, None) if found.null is None else percentile_interval(found.null[row])
        yield Finding(
            name=name,
            value=float(value),
            low=low,
            high=high,
            null_low=band[0],
            null_high=band[1],
            p=None if p is None else float(p[row]),
            count=count,
            site=_site(layer),
            unit=unit,
            summary=told,
            headline=headline and row == least,
        )
