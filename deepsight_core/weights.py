"""Weights that matter: which entries of a model's matrices the loss on some examples depends on most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["attention", "mlp"]
Place = tuple[str, int | None]
"""A matrix: the parameter's name, and the expert where one parameter holds several."""


@dataclass(frozen=True)
class Units:
    """To which heads or neurons the rows or columns of a matrix belong."""

    kind: Literal["head", "neuron"]
    owner: str
    """The module whose units they are; matrices of one owner and expert share the numbering."""
    axis: int
    """Of the matrix as it is stored: 0 when each unit has rows, 1 when it has columns."""
    width: int = 1
    """Rows or columns of one unit."""


@dataclass(frozen=True)
class Matrix:
    """One weight matrix. Of experts that are stored as one tensor, each is a matrix of its own."""

    name: str
    """The parameter's name in the model; experts of one tensor are told apart by `expert`."""
    layer: int
    part: Part
    shape: tuple[int, int]
    """As stored: (outputs, inputs) for a linear layer, (inputs, outputs) for the transposed one of GPT-2."""
    expert: int | None = None
    units: Units | None = None
    """None where the shape leaves open which unit an entry belongs to (queries, keys and values in one matrix)."""

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def place(self) -> Place:
        return self.name, self.expert

    def unit_numbers(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Head or neuron of each place in the flattened matrix. Needs `units`."""
        if self.units is None:
            raise ValueError(f"the entries of {self.name} belong to no known units")
        row_and_column = np.unravel_index(indices, self.shape)
        return np.asarray(row_and_column[self.units.axis] // self.units.width, dtype=np.int64)


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
    """By matrix: shape (cohorts, blocks, kept). Blocks are consecutive parts of a cohort's examples, as equal as can
    be; their sum is the cohort's score. A cohort whose gradient on a matrix is identically zero has zeros."""
    depth: float
    """The share of each matrix's entries, per cohort, that is certain to be among those kept: the floor of depth times
    the size, the most important first."""
    sweeps: int = 1
    """How often the examples were read: once for each group of layers whose gradients fit into memory together."""
