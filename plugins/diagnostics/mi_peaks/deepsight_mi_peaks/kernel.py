"""HSIC of two vectors whose coordinates are taken as samples: exact to rounding, without a width x width matrix.

The published definition (Ma, Lewis and Kleijn 2020, as Qian et al. 2025 use it, arXiv:2506.02867): K is the kernel
matrix of the d coordinates of one vector, H centres, A = K H, R = A (A + c I)^-1 with c = 1e-5 d, and the value of two
vectors is tr(R_x R_y). With S = H K H and f(s) = s / (s + c) this is tr(f(S_x) f(S_y)).

Coordinates are numbers on a line, so K has a low numerical rank. A pivoted Cholesky decomposition K = G' G finds it
from r columns of K. With P = G H (rows centred) the matrix identity R = P' (P P' + c I)^-1 P needs r x r solves only,
and with B B' = P P' + c I the factor Psi = B^-1 P gives f(S) = Psi' Psi. The value of two vectors is then the sum of
squares of Psi_x Psi_y', and everything else that is needed of f(S) follows from Psi as cheaply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
KernelName = Literal["gaussian", "linear", "imq"]

RIDGE = 1e-5
"""c over the width, as published."""
RESIDUAL = 1e-14
"""The decomposition stops when no diagonal entry of K is off by more; the diagonal is 1."""
BLOCK = 1 << 15
"""Coordinates that are factored at a time, so that the columns stay in the processor's cache."""


class Kernel(NamedTuple):
    """How alike two coordinates are.

    gaussian: exp(-(a - b)^2 / (2 sigma^2)); without sigma, sigma is the median over pairs of the *squared* distance,
    at least 0.01, as published. imq: 1 / sqrt(1 + (a - b)^2). linear: a b.
    """

    name: KernelName = "gaussian"
    sigma: float | None = 50.0


PUBLISHED = Kernel()


def factors(x: NDArray[np.floating], kernel: Kernel) -> Iterator[tuple[slice, Floats]]:
    """Psi of each vector of `x`, shape (vectors, width), in blocks: the rows, and an array (rows, rank, width).

    The rank is that of the block's most demanding vector; the others are filled up with zeros.
    """
    size = max(1, BLOCK // x.shape[1])
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        yield rows, factor(x[rows].astype(np.float64), kernel)


def factor(x: Floats, kernel: Kernel) -> Floats:
    """Psi of each row of `x`, shape (vectors, rank, width), all at once. A constant vector has Psi = 0."""
    columns = _columns(x, kernel)
    columns -= columns.mean(axis=2, keepdims=True)
    gram = columns @ columns.transpose(0, 2, 1)
    gram += RIDGE * x.shape[1] * np.eye(gram.shape[1])
    return np.asarray(np.linalg.inv(np.linalg.cholesky(gram)) @ columns)


def dependence(x: Floats, y: Floats) -> Floats:
    """tr(f(S_x) f(S_y)) of every x with every y, shape (x's, y's), from their factors."""
    (n, r, d), (m, s, _) = x.shape, y.shape
    products = x.reshape(n * r, d) @ y.reshape(m * s, d).T
    return np.asarray((products**2).reshape(n, r, m, s).sum(axis=(1, 3)))


def _columns(x: Floats, kernel: Kernel) -> Floats:
    """Factors of the kernel matrices before centring: K = columns' columns for each vector."""
    if kernel.name == "linear":
        return x[:, None, :].copy()
    if kernel.name == "imq":
        return _cholesky(x, lambda gap: 1 / np.sqrt(1 + gap * gap))
    sigma = np.array([median_bandwidth(row) for row in x]) if kernel.sigma is None else np.full(len(x), kernel.sigma)
    return _cholesky(x / (np.sqrt(2) * sigma[:, None]), lambda gap: np.exp(-gap * gap))


def _cholesky(points: Floats, profile: Callable[[Floats], Floats]) -> Floats:
    """Pivoted Cholesky columns of the matrices profile(a - b), whose diagonal is 1: shape (vectors, rank, width)."""
    count, width = points.shape
    every = np.arange(count)
    columns = np.zeros((count, min(8, width), width))
    residual = np.ones((count, width))
    rank = 0
    while rank < width:
        pivot = residual.argmax(axis=1)
        left = residual[every, pivot]
        unfinished = left > RESIDUAL
        if not unfinished.any():
            break
        if rank == columns.shape[1]:
            columns = np.concatenate([columns, np.zeros((count, min(rank, width - rank), width))], axis=1)
        column = profile(points - points[every, pivot][:, None])
        known = columns[:, :rank]
        column -= (known[every, :, pivot][:, None] @ known)[:, 0]
        column *= np.where(unfinished, 1 / np.sqrt(np.maximum(left, RESIDUAL)), 0)[:, None]
        columns[:, rank] = column
        residual -= column * column
        rank += 1
    return columns[:, :rank]


def median_bandwidth(x: Floats) -> float:
    """The published bandwidth of a vector: the median squared distance of the pairs of its coordinates, each counted
    twice over (the coordinates are stacked on themselves, so that d of the pairs have distance 0); at least 0.01."""
    width, ordered = len(x), np.sort(x)
    pairs = width * (2 * width - 1)
    middle = {(pairs - 1) // 2, pairs // 2}
    median = float(np.mean([_gap(ordered, place) ** 2 for place in middle]))
    if median <= 0:
        median = float(2 * width * width * ordered.var() * 2 / pairs)
    return max(median, 1e-2)


def _gap(ordered: Floats, place: int) -> float:
    """The distance at a place in the sorted list of d zeros and four copies of each pair's distance, by bisection."""
    place = (place - len(ordered)) // 4 if place >= len(ordered) else -1
    if place < 0:
        return 0.0
    low, high = 0.0, float(ordered[-1] - ordered[0])
    ranks = np.arange(len(ordered)) + 1
    while low < (middle := (low + high) / 2) < high:
        within = int((np.searchsorted(ordered, ordered + middle, side="right") - ranks).sum())
        low, high = (low, middle) if within > place else (middle, high)
    return high
