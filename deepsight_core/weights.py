"""Weights that matter: which entries of a model's matrices the loss on some examples depends on most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["attention", "mlp"]


@dataclass(frozen=True)
class Matrix:
    """One weight matrix. Of experts that are stored as one tensor, each is a matrix of its own."""

    name: str
    """The parameter's name in the model; experts of one tensor are told apart by `expert`."""
    layer: int
    part: Part
    shape: tuple[int, int]
    expert: int | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Importance:
    """|W| * (sum over examples of |dL/dW|), L the mean cross-entropy of the answer's tokens, for the entries that are
    among the most important to any cohort (SNIP, Lee et al. 2019, arXiv:1810.02340; SPIN, arXiv:2410.16672)."""

    cohorts: tuple[str, ...]
    examples: Mapping[str, int]
    """Examples of each cohort."""
    matrices: tuple[Matrix, ...]
    indices: tuple[NDArray[np.int64], ...]
    """By matrix: places of the kept entries in the flattened matrix, ascending; shape (kept,)."""
    scores: tuple[NDArray[np.float32], ...]
    """By matrix: shape (cohorts, blocks, kept). Blocks are disjoint parts of a cohort's examples; their sum is the
    cohort's score. A cohort whose gradient on a matrix is identically zero has zeros."""
    depth: float
    """The share of each matrix's entries, per cohort, that is certain to be among those kept."""
