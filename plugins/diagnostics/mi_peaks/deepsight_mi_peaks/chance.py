"""What the dependence of two vectors comes to by chance: exact moments over all orders of one vector's coordinates.

The value of x and y is tr(V W) with V = f(S_x), W = f(S_y), whose rows sum to 0. Put the coordinates of y into a random
order and it becomes tr(V P W P'). Its mean and variance over all d! orders have closed forms in three numbers of each
matrix (Kazi-Aoual, Hitier, Sabatier and Lebreton 1995, Computational Statistics & Data Analysis 20; there for the RV
coefficient), so no order need be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Of each of several vectors: what the moments depend on. Each has shape (vectors,)."""

    trace: Floats
    square: Floats
    """tr(V^2): also the vector's value with itself."""
    diagonal: Floats
    """Sum of the squared diagonal."""
    width: int

    @classmethod
    def of(cls, psi: Floats) -> Self:
        """From factors, shape (vectors, rank, width)."""
        each = np.einsum("nrd,nrd->nd", psi, psi)
        square = ((psi @ psi.transpose(0, 2, 1)) ** 2).sum(axis=(1, 2))
        return cls(each.sum(axis=1), square, (each**2).sum(axis=1), psi.shape[2])

    def row(self, number: int) -> Shape:
        one = slice(number, number + 1)
        return Shape(self.trace[one], self.square[one], self.diagonal[one], self.width)

    @classmethod
    def joined(cls, parts: list[Shape]) -> Self:
        return cls(
            np.concatenate([part.trace for part in parts]),
            np.concatenate([part.square for part in parts]),
            np.concatenate([part.diagonal for part in parts]),
            parts[0].width,
        )


def chance(x: Shape, y: Shape) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the value when the coordinates of one vector are put into a random order.

    Shapes broadcast. Needs a width of at least 4.
    """
    n = x.width
    mean = x.trace * y.trace / (n - 1)
    spread = [(n - 1) * one.square - one.trace**2 for one in (x, y)]
    peaked = [n * (n + 1) * one.diagonal - (n - 1) * (one.trace**2 + 2 * one.square) for one in (x, y)]
    variance = 2 * spread[0] * spread[1] / ((n - 1) ** 2 * (n + 1) * (n - 2))
    variance = variance + peaked[0] * peaked[1] / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
    return mean, np.sqrt(np.maximum(variance, 0))


def above_chance(value: Floats, x: Shape, y: Shape) -> Floats:
    """The value on a scale on which 0 is what chance gives and 1 the value of equal vectors.

    (value - mean) / (sqrt(value(x, x) value(y, y)) - mean), as the adjusted Rand index corrects another index. 0 for a
    constant vector, which depends on nothing.
    """
    mean, _ = chance(x, y)
    room = np.sqrt(x.square * y.square) - mean
    return np.divide(value - mean, room, out=np.zeros_like(value - mean), where=room > 1e-12)
