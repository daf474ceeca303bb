"""What a direction drawn by lot achieves, which a probe must beat."""

from __future__ import annotations

import numpy as np
from deepsight_probing import auroc_within
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def random_directions(x: NDArray[np.floating], y: Ints, count: int, seed: int) -> Floats:
    """AUROC of the projection on each of `count` Gaussian directions, turned so that it is at least 1/2.

    The sign is chosen with the labels in sight, as it would be by someone who picks a direction by its looks.
    """
    centred = x - x.mean(axis=0, dtype=np.float64)
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], count))
    labels = np.repeat(y[:, None], count, axis=1)
    values = auroc_within(centred @ directions, labels, np.zeros_like(y))
    return np.maximum(values, 1 - values)
