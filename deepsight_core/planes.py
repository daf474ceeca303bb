"""Samples in a plane: two coordinates that mean the same in every model, for a figure of how cohorts lie.

Neither a random start nor a perplexity decides what is seen, as with t-SNE, and distances in the plane are distances of
hidden space, in units of the spread within a cohort.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.figures import Dot, Scatter
from deepsight_core.protocol import short_hash

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DOTS = 2000
"""Most samples that are drawn; of more, those whose ids have the smallest hashes."""
UNIT = "within-cohort spreads"


def plane(
    x: ArrayLike,
    ids: Sequence[str],
    cohorts: Sequence[str],
    clusters: ArrayLike,
    ends: tuple[str, str],
    *,
    name: str,
    where: str,
) -> Scatter | None:
    """Activations of shape (rows, width), all finite, as dots: from the first of the two cohorts in `ends` (left) to
    the second (right), and along the direction in which what is left varies most (upwards).

    The unit of both axes is the pooled root mean squared distance of a sample from its cohort's mean, so that the
    cohorts' centres lie about d' apart; 0 is halfway between them. The horizontal place of a sample is measured along
    the difference of the two means *without the sample's own cluster*: where there is no difference, none is seen. Rows
    of other cohorts are placed and define neither the axis nor the unit. Where an end spans fewer than two clusters
    (one cohort, say) the axes are the first two principal components. `where` says in the caption where it was
    measured. None for fewer than three samples, or samples that are all the same.
    """
    rows = _drawn(ids)
    if len(rows) < 3:
        return None
    values = np.asarray(x, dtype=np.float64)[rows]
    rounding = 1e-12 * np.abs(values).max()
    values = values - values.mean(axis=0)
    names = np.asarray(cohorts)[rows]
    which = np.unique(np.asarray(clusters)[rows], return_inverse=True)[1]
    sides = [names == end for end in ends]
    parted = all(len(np.unique(which[side])) > 1 for side in sides)
    spread = _spread(values, sides if parted else [np.ones(len(rows), dtype=bool)])
    if spread <= rounding:
        return None
    if parted:
        across, rest = _between(values, sides, which), _without_gap(values, sides)
        told = "Horizontally, each sample lies where the cohorts' means without its own cluster put it"
    else:
        first = _principal(values)
        across, rest = values @ first, values - np.outer(values @ first, first)
        told = "Horizontally, the first principal component"
    up = rest @ _principal(rest)
    drawn = "" if len(rows) == len(ids) else f" {len(rows)} of {len(ids)} samples are drawn."
    return Scatter(
        name=name,
        caption=f"{where}. {told}; vertically, the direction in which what is left varies most.{drawn}",
        x=f"from {ends[0]} to {ends[1]} ({UNIT})" if parted else f"first principal component ({UNIT})",
        y="first component of the rest (same unit)",
        dots=tuple(
            Dot(id=ids[row], x=float(a), y=float(b), group=cohorts[row])
            for row, a, b in zip(rows, across / spread, up / spread, strict=True)
        ),
    )


def _drawn(ids: Sequence[str]) -> Ints:
    """Rows in the order of their ids, so that the order of the evidence changes nothing; at most DOTS."""
    order = sorted(range(len(ids)), key=lambda row: ids[row])
    if len(order) > DOTS:
        chosen = set(sorted(order, key=lambda row: short_hash(ids[row]))[:DOTS])
        order = [row for row in order if row in chosen]
    return np.array(order, dtype=np.int64)


def _spread(x: Floats, sides: Sequence[NDArray[np.bool_]]) -> float:
    """Root of the mean of the sides' traces: how far a sample typically lies from its own mean."""
    return float(np.sqrt(np.mean([x[side].var(axis=0, ddof=1).sum() for side in sides])))


def _between(x: Floats, sides: Sequence[NDArray[np.bool_]], which: Ints) -> Floats:
    """Distance from the middle between the two means, along their difference, all without the row's own cluster."""
    out = np.zeros(len(x))
    # a mean of n rows is longer than what it estimates by tr S / n, which would shift the middle between unequal sides
    traces = [x[side].var(axis=0, ddof=1).sum() for side in sides]
    totals = [(x[side].sum(axis=0), int(side.sum())) for side in sides]
    for cluster in range(int(which.max()) + 1):
        own = which == cluster
        means, squares = [], []
        for side, trace, (total, count) in zip(sides, traces, totals, strict=True):
            left = count - int((own & side).sum())
            mean = (total - x[own & side].sum(axis=0)) / left
            means.append(mean)
            squares.append(mean @ mean - trace / left)
        axis = means[1] - means[0]
        if length := np.linalg.norm(axis):
            out[own] = (x[own] @ axis - (squares[1] - squares[0]) / 2) / length
    return out


def _without_gap(x: Floats, sides: Sequence[NDArray[np.bool_]]) -> Floats:
    """The rows less their component along the difference of the two means."""
    axis = x[sides[1]].mean(axis=0) - x[sides[0]].mean(axis=0)
    square = axis @ axis
    return x - np.outer(x @ axis / square, axis) if square else x


def _principal(x: Floats) -> Floats:
    """The unit vector along which centred rows vary most, pointing to the longer tail; zero where nothing varies."""
    wide = x.shape[1] > len(x)
    vector = np.linalg.eigh(x @ x.T if wide else x.T @ x)[1][:, -1]
    if wide:
        vector = x.T @ vector
    length = np.linalg.norm(vector)
    if length:
        vector = vector / (length if ((x @ vector) ** 3).sum() >= 0 else -length)
    return np.asarray(vector)
