"""Steps that stand out of a trajectory, by the interquartile rule of Qian et al. 2025 (arXiv:2506.02867, section 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SHORTEST = 4
"""Steps below which quartiles say nothing: a shorter trajectory has no peaks."""


def peaks(trajectory: Floats) -> Flags:
    """Which steps lie above the third quartile by more than one and a half interquartile ranges.

    Steps are the last axis; each trajectory on the axes before it is judged by its own quartiles.
    """
    if trajectory.shape[-1] < SHORTEST:
        return np.zeros(trajectory.shape, dtype=bool)
    first, third = np.quantile(trajectory, [0.25, 0.75], axis=-1, keepdims=True)
    return np.asarray(trajectory > third + 1.5 * (third - first))


def height(trajectory: Floats, flags: Flags) -> float | None:
    """The published AOM: mean distance of the peaks from the median, in interquartile ranges; None without peaks, or
    where half of the steps are equal."""
    if not flags.any():
        return None
    first, middle, third = np.quantile(trajectory, [0.25, 0.5, 0.75])
    return float(np.abs(trajectory[flags] - middle).mean() / (third - first)) if third > first else None


def gap(flags: Flags) -> float | None:
    """Mean number of steps from one peak to the next; None with fewer than two."""
    places = np.flatnonzero(flags)
    return float(np.diff(places).mean()) if len(places) > 1 else None


def beyond_position(trajectories: list[Floats]) -> list[tuple[int, int]]:
    """Of each answer's peaks, how many can be compared with other answers at the same step, and how many of those stay
    peaks once the mean of the other answers at that step is taken off.

    A step can be compared where two other answers reach it.
    """
    longest = max(len(one) for one in trajectories)
    table = np.full((len(trajectories), longest), np.nan)
    for row, one in enumerate(trajectories):
        table[row, : len(one)] = one
    alive = np.isfinite(table).sum(axis=0)
    total = np.nansum(table, axis=0)
    counted = []
    for one in trajectories:
        span = np.flatnonzero(alive[: len(one)] > 2)
        rest = one[span] - (total[span] - one[span]) / (alive[span] - 1)
        known = peaks(one)[span]
        counted.append((int(known.sum()), int((known & peaks(rest)).sum())))
    return counted
