"""The arithmetic of edits: what each does to the value of a site at one layer.

A change takes x, of shape (rows, tokens, width) in float32 or wider, and the reach of the pass, and gives a new
tensor. What it does not reach, or reaches with a dose of 0 or a factor of 1, comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsight_core.edits import Dose, Scope, Units
from deepsight_core.errors import DiagnosticError
from deepsight_torch.reach import Reach

Floats = NDArray[np.floating]


class Change(Protocol):
    def __call__(self, x: Tensor, reach: Reach) -> Tensor: ...


class Constant:
    """A small array, moved once to each device and dtype where it is needed."""

    def __init__(self, array: Floats) -> None:
        self._tensor = torch.from_numpy(np.array(array, dtype=np.float64))
        self._moved: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def beside(self, x: Tensor) -> Tensor:
        key = (x.device, x.dtype)
        if key not in self._moved:
            with torch.inference_mode(False):  # so that gradients may flow past it later
                self._moved[key] = self._tensor.to(x.device, x.dtype)
        return self._moved[key]


class Addition:
    """x + dose * vector."""

    def __init__(self, vector: Floats, dose: Dose, scope: Scope) -> None:
        self.vector, self.dose, self.scope = Constant(vector), dose, scope

    def __call__(self, x: Tensor, reach: Reach) -> Tensor:
        return _within(reach.mask(self.scope, x), x + reach.numbers(self.dose, 0.0, x) * self.vector.beside(x), x)


class Ablation:
    """x - dose * Q Qᵀ (x - towards), where the rows of `basis` are the columns of Q."""

    def __init__(self, basis: Floats, towards: Floats | None, dose: Dose, scope: Scope) -> None:
        self.basis, self.dose, self.scope = Constant(basis), dose, scope
        self.coordinates = Constant(basis @ towards if towards is not None else np.zeros(len(basis)))

    def __call__(self, x: Tensor, reach: Reach) -> Tensor:
        basis = self.basis.beside(x)
        off = x @ basis.T - self.coordinates.beside(x)
        return _within(reach.mask(self.scope, x), x - reach.numbers(self.dose, 0.0, x) * (off @ basis), x)


class Scaling:
    """towards + factor * (x - towards) at the chosen units, each `unit_width` coordinates wide."""

    def __init__(
        self, factor: Dose, units: Units | None, unit_width: int, towards: Floats | None, scope: Scope
    ) -> None:
        self.factor, self.units, self.unit_width, self.scope = factor, units, unit_width, scope
        self.towards = Constant(towards if towards is not None else np.zeros(1))

    def __call__(self, x: Tensor, reach: Reach) -> Tensor:
        factor = reach.numbers(self.factor, 1.0, x)
        if not isinstance(factor, Tensor):
            factor = torch.full((1, 1, 1), factor, dtype=x.dtype, device=x.device)
        if self.units is not None:
            chosen = reach.chosen(self.units, x.shape[-1] // self.unit_width, x)
            factor = torch.where(chosen.repeat_interleave(self.unit_width, dim=-1), factor, 1.0)
        # lerp is exact at both ends: a factor of 1 gives x, a factor of 0 gives `towards`.
        towards = self.towards.beside(x).expand_as(x)
        return _within(reach.mask(self.scope, x), torch.lerp(towards, x, factor.expand_as(x)), x)


class Replacement:
    """The source's activations in place of x, at tokens that are known once the texts are."""

    def __init__(self, source: Mapping[str, Floats], units: tuple[int, ...] | None, unit_width: int) -> None:
        """`source`: (positions, width) by prompt id."""
        self.source = {id: Constant(array) for id, array in source.items()}
        self.coordinates = None if units is None else _coordinates(units, unit_width)
        self.tokens: dict[str, Sequence[int]] = {}
        """Indices in the text of each id that has a source."""

    def __call__(self, x: Tensor, reach: Reach) -> Tensor:
        changed = x.clone()
        for row, id, columns in reach.columns(self.tokens):
            here = [place for place, column in enumerate(columns) if 0 <= column < x.shape[1]]
            if not here:
                continue
            values, at = self.source[id].beside(x)[here], [columns[place] for place in here]
            if self.coordinates is None:
                changed[row, at] = values
            else:
                coordinates = torch.tensor(self.coordinates, device=x.device)
                changed[row, torch.tensor(at, device=x.device)[:, None], coordinates] = values[:, coordinates]
        return changed


def orthonormal(directions: Floats) -> NDArray[np.float64]:
    """Rows that span what the directions, (width,) or (k, width), span: (rank, width).

    Raises DiagnosticError when that is nothing.
    """
    matrix = np.atleast_2d(np.asarray(directions))
    rounding = np.finfo(matrix.dtype).eps if matrix.dtype.kind == "f" else np.finfo(np.float64).eps
    _, sizes, basis = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    rank = int((sizes > sizes[0] * max(matrix.shape) * rounding).sum())
    if not rank:
        raise DiagnosticError("the directions to ablate are all zero: there is nothing to take out")
    return np.asarray(basis[:rank])


def _within(mask: Tensor | None, changed: Tensor, x: Tensor) -> Tensor:
    return changed if mask is None else torch.where(mask, changed, x)


def _coordinates(units: tuple[int, ...], width: int) -> list[int]:
    return [unit * width + place for unit in units for place in range(width)]
