"""Recompute a few texts in the plainest way there is, and say how far the planned pass is from it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from deepsight_core.inside import Array
from deepsight_torch.capture import capture
from deepsight_torch.plan import Pass, Row
from deepsight_torch.sites import Sites

log = logging.getLogger(__name__)

TEXTS = 2
TOLERANCE = {"float32": 1e-4, "float64": 1e-4}
"""Largest relative error to be expected of reordered sums; 3e-2 in 16-bit types."""


def guard(sites: Sites, one: Pass, arrays: Sequence[Array], seed: int) -> float:
    """The largest relative difference, over streams and layers, between what a pass gave for two of its texts and
    what each gives alone: batch of 1, no padding, no shared prefix. Logs a warning when it is out of the ordinary."""
    chosen = np.random.default_rng(seed).permutation(len(one.rows))[:TEXTS]
    worst = 0.0

    def compare(row: Row, alone: list[Array]) -> None:
        nonlocal worst
        for array, expected in zip(arrays, alone, strict=True):
            off = np.linalg.norm(array[row.prompts[0]] - expected, axis=(1, 2))
            worst = max(worst, float(np.max(off / np.maximum(np.linalg.norm(expected, axis=(1, 2)), 1e-30))))

    for number in chosen:
        capture(sites, one.streams, [one.rows[number]], compare, token_budget=1, share=False)
    tolerance = TOLERANCE.get(str(sites.dtype).removeprefix("torch."), 3e-2)
    if worst > tolerance:
        log.warning("activations differ by %.1e from those of the text alone (expected: below %.0e)", worst, tolerance)
    return worst
