"""The figures: single answers with their tokens, the mean over answers, and the map of layers and steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights
from deepsight_core.figures import Figure, Heatmap, Trajectory
from deepsight_mi_peaks.summary import Answer, Frame

Floats = NDArray[np.float64]

SHOWN = 3
"""Answers that are drawn: the first ones by id, not the best-looking."""
BINS = 16
_Y = "dependence above chance"


def figures(frame: Frame, layers: Sequence[int | None]) -> tuple[Figure, ...]:
    single = (_single(one, frame) for one in frame.answers[:SHOWN])
    return (*single, _mean(frame), _map(frame.answers, layers))


def _single(one: Answer, frame: Frame) -> Trajectory:
    band = 1.96 * one.course.spread
    return Trajectory(
        name=f"steps of {one.id}",
        id=one.id,
        caption=f"Layer {frame.site.layer}. Marks: peaks. Band: where 95 % would lie if the reference answer's "
        "coordinates were in random order (mean and exact standard deviation).",
        x="token that was decided",
        y=_Y,
        values=_listed(one.trajectory),
        words=one.words,
        marks=tuple(int(place) for place in np.flatnonzero(one.flags)),
        low=_listed(-band),
        high=_listed(band),
    )


def _mean(frame: Frame) -> Trajectory:
    longest = max(len(one.trajectory) for one in frame.answers)
    values = np.zeros((len(frame.answers), longest))
    alive = np.zeros_like(values)
    for row, one in enumerate(frame.answers):
        values[row, : len(one.trajectory)] = one.trajectory
        alive[row, : len(one.trajectory)] = 1
    weights = cluster_weights([one.cluster for one in frame.answers], frame.resamples, frame.seed)
    there = weights @ alive
    draws = np.divide(weights @ values, there, out=np.full_like(there, np.nan), where=there > 0)
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    return Trajectory(
        name="mean over answers",
        caption=f"Layer {frame.site.layer}: mean over the answers that are as long, {len(frame.answers)} at the start "
        f"and {int(alive[:, -1].sum())} at the end. Band: 95 % of bootstrap draws of problems.",
        x="step",
        y=_Y,
        values=_listed(values.sum(axis=0) / alive.sum(axis=0)),
        low=_listed(low),
        high=_listed(high),
    )


def _map(answers: Sequence[Answer], layers: Sequence[int | None]) -> Heatmap:
    longest = max(len(one.trajectory) for one in answers)
    edges = np.unique(np.linspace(0, longest, min(BINS, longest) + 1).astype(int))
    spans = list(pairwise(edges))
    return Heatmap(
        name="layers and steps",
        caption="Mean over answers and steps: where in the network, and when, states come near the reference answer's.",
        x="steps",
        y="layer",
        rows=tuple(f"layer {layer}" for layer in layers),
        columns=tuple(f"{start}-{stop - 1}" if stop - start > 1 else str(start) for start, stop in spans),
        values=tuple(
            tuple(
                float(np.concatenate([one.course.own[column, start:stop] for one in answers]).mean())
                for start, stop in spans
            )
            for column in range(len(layers))
        ),
        unit="dependence",
        centre=0.0,
    )


def _listed(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
