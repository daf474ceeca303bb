"""Three parts of the samples: to fit on, to choose on, and to report on; no cluster is in two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.crossfit import folds

PARTS = 4
"""Two of four parts to fit on, one to choose on, one to report on."""


@dataclass(frozen=True)
class Split:
    """Row numbers."""

    fit: NDArray[np.int64]
    choose: NDArray[np.int64]
    report: NDArray[np.int64]


def split(y: ArrayLike, groups: ArrayLike, seed: int = 0) -> Split:
    """Half of the clusters, a quarter, and a quarter, with both classes in each.

    Raises DiagnosticError where a class has fewer than four clusters.
    """
    part = folds(y, groups, PARTS, seed)
    return Split(np.flatnonzero(part < 2), np.flatnonzero(part == 2), np.flatnonzero(part == 3))
