"""Log-determinants and effective rank, from whichever of the two Gram matrices is smaller, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def log_volume(rows: ArrayLike, scale: float) -> float:
    """log det(I + scale * ZᵀZ) of rows Z, shape (n, width); natural logarithm. Sylvester: Z Zᵀ gives the same."""
    z = np.asarray(rows, dtype=np.float64)
    gram = z @ z.T if len(z) < z.shape[1] else z.T @ z
    return log_determinant(gram, scale)


def log_determinant(gram: Floats, scale: float) -> float:
    """log det(I + scale * G) of a symmetric G without negative eigenvalues but for rounding."""
    return float(np.linalg.slogdet(np.eye(len(gram)) + scale * gram)[1])


def effective_rank(rows: ArrayLike) -> float | None:
    """exp of the entropy of the eigenvalues of the covariance of directions, in [1, min(n - 1, width)].

    Rows are centred and scaled to unit length (Diff-eRank, Wei et al. 2024, arXiv:2401.17139; Roy and Vetterli 2007).
    None when a row is the mean: it has no direction.
    """
    z = np.asarray(rows, dtype=np.float64)
    z = z - z.mean(axis=0)
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    if not (lengths > 0).all():
        return None
    z = z / lengths
    values = np.linalg.eigvalsh(z @ z.T if len(z) < z.shape[1] else z.T @ z)
    p = values[values > 0] / values[values > 0].sum()
    return float(np.exp(-(p * np.log(p)).sum()))
