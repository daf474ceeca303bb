"""Linear centred kernel alignment without the bias of small samples, for many representations at once.

HSIC_1 (Song et al. 2012, JMLR 13:1393, eq. 5) of Gram matrices K and L is the scalar product of their U-centred forms
(Székely and Rizzo 2014, Annals of Statistics 42:2382), divided by n (n - 3). CKA is its cosine: all pairs of layers are
one matrix product of flattened U-centred Grams. It changes neither when a representation is rotated nor when it is
scaled, and is 0 on average for representations that have nothing to do with each other (Nguyen et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.errors import DiagnosticError

Floats = NDArray[np.float64]

FEWEST = 4
"""Rows without which HSIC_1 is not defined."""


def gram(x: ArrayLike) -> Floats:
    """Inner products of the rows about their mean: (rows, rows), in float64."""
    rows = np.asarray(x, dtype=np.float64)
    rows = rows - rows.mean(axis=0)
    return np.asarray(rows @ rows.T)


def grams(states: ArrayLike) -> Floats:
    """Of states of shape (rows, layers, width): (layers, rows, rows)."""
    x = np.asarray(states)
    return np.stack([gram(x[:, column]) for column in range(x.shape[1])])


def u_centred(products: Floats) -> Floats:
    """Gram matrices of shape (..., rows, rows), U-centred: zero on the diagonal, and every row and column sums to 0.

    Raises DiagnosticError for fewer than FEWEST rows.
    """
    n = products.shape[-1]
    if n < FEWEST:
        raise DiagnosticError(f"similarity needs {FEWEST} samples at least, not {n}")
    k = products.copy()
    k[..., range(n), range(n)] = 0
    sums = k.sum(axis=-1)
    total = sums.sum(axis=-1)[..., None, None]
    k += total / ((n - 1) * (n - 2)) - (sums[..., :, None] + sums[..., None, :]) / (n - 2)
    k[..., range(n), range(n)] = 0
    return k


def alignment(one: Floats, other: Floats) -> Floats:
    """Debiased linear CKA between all of one and all of the other, from Grams of shape (a, rows, rows) and (b, rows,
    rows): (a, b), at most 1, below 0 by chance alone. 0 where a representation has no variance beyond noise."""
    first, second = (u_centred(side).reshape(len(side), -1) for side in (one, other))
    return _cosines(first, second)


def paired(one: Floats, other: Floats) -> Floats:
    """CKA of each of one with the same number of the other: (a,)."""
    first, second = (u_centred(side).reshape(len(side), -1) for side in (one, other))
    sizes = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    products = (first * second).sum(axis=1)
    return np.asarray(np.divide(products, sizes, out=np.zeros_like(sizes), where=sizes > 0))


def permuted(one: Floats, other: Floats, orders: Sequence[NDArray[np.int64]]) -> Floats:
    """`paired` with the rows of the other in each of these orders: (a, orders). Nothing aligns them then."""
    first, second = u_centred(one), u_centred(other)
    sizes = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    found = np.array([(first * second[:, order][:, :, order]).sum(axis=(1, 2)) for order in orders])
    return np.asarray(np.divide(found, sizes, out=np.zeros_like(found), where=sizes > 0).T)


def biased(one: ArrayLike, other: ArrayLike) -> float:
    """Linear CKA as first published (Kornblith et al. 2019), of rows. It nears 1 for any two representations that are
    wider than there are samples; kept to show that."""
    k, m = gram(one), gram(other)
    return float((k * m).sum() / np.sqrt((k**2).sum() * (m**2).sum()))


def _cosines(one: Floats, other: Floats) -> Floats:
    sizes = np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    return np.asarray(np.divide(one @ other.T, sizes, out=np.zeros_like(sizes), where=sizes > 0))
