"""The rule that gives every failure its cause, and the layer at which it parts from the prompts that went right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import cosine
from numpy.typing import NDArray

from deepsight_root_cause.cases import Bools, Cases, Ints

Floats = NDArray[np.float64]

MISSED = "not recognised"
RECOGNISED = "recognised but not refused"
BEYOND = "refused though not recognised"
MISTAKEN = "refused and taken for harmful"
UNDECIDED = "undecided"
CAUSES = {1: (RECOGNISED, MISSED, UNDECIDED), 0: (BEYOND, MISTAKEN, UNDECIDED)}
"""By label: harmful prompts fail when answered, harmless ones when refused."""
READINGS = ("recognised", "undecided", "not recognised")

LEVEL = 0.95
BAND = 20
"""Prompts that went right without which there is no band."""
NEAREST = 3


def readings(probability: Floats, certainty: float) -> tuple[str, ...]:
    """What the probe says of each row: decided where the likelier side has at least this probability."""
    return tuple(
        READINGS[0] if p >= certainty else READINGS[2] if 1 - p >= certainty else READINGS[1] for p in probability
    )


def causes(known: Cases, read: Sequence[str]) -> tuple[str | None, ...]:
    """None for prompts that went right."""
    found: list[str | None] = []
    for harmful, right, reading in zip(known.harmful, known.right, read, strict=True):
        by_reading = dict(
            zip(READINGS, (RECOGNISED, UNDECIDED, MISSED) if harmful else (MISTAKEN, UNDECIDED, BEYOND), strict=True)
        )
        found.append(None if right else by_reading[reading])
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Parting:
    """Where rows leave the band of the prompts of their label that went right, on the failing side, for good."""

    layers: Ints
    """(rows,): number of the layer among those looked at; -1 for rows that do not part, or have no band."""
    bands: dict[int, tuple[Floats, Floats]]
    """By label: the band's ends in each layer. A label with too few right prompts has none."""


def parting(values: Floats, known: Cases) -> Parting:
    """From refusal coordinates (rows, layers). A prompt that went right is compared with the band of the others, so
    that the share of them that part is what luck gives."""
    layers = np.full(len(values), -1, dtype=np.int64)
    bands = {}
    for label in (0, 1):
        mine = known.reported & (known.harmful == label)
        right = np.flatnonzero(mine & known.right)
        if len(right) < BAND:
            continue
        bands[label] = _band(values[right])
        for row in np.flatnonzero(mine):
            low, high = _band(values[right[right != row]]) if known.right[row] else bands[label]
            layers[row] = _parts(values[row] < low if label else values[row] > high)
    return Parting(layers, bands)


def nearest(x: NDArray[np.floating], row: int, others: Bools, ids: Sequence[str]) -> tuple[str, ...]:
    """Ids of the rows among `others` that lie nearest to a row by cosine, in activations (rows, width) less their
    mean."""
    candidates = np.flatnonzero(others)
    if not len(candidates):
        return ()
    centred = x - x.mean(axis=0, dtype=np.float64)
    closeness = cosine(centred[candidates], centred[row])
    return tuple(ids[candidates[place]] for place in np.argsort(-closeness, kind="stable")[:NEAREST])


def _band(values: Floats) -> tuple[Floats, Floats]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def _parts(outside: Bools) -> int:
    """The first of the trailing layers that are all outside; -1 when the last one is inside."""
    inside = np.flatnonzero(~outside)
    first = int(inside[-1]) + 1 if len(inside) else 0
    return first if first < len(outside) else -1
