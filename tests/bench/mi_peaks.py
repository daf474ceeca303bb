"""MI-Peaks: time per token of the low-rank value against the dense one as published, on one thread.

The baseline makes both d x d kernel matrices and both inverses for every token, as published, but in float64: the
published float32 is wrong by up to 60 %. Values must agree before anything is timed.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from deepsight_mi_peaks.kernel import Kernel, dependence, factor, factors

TOKENS = 256
ROUNDS = 5
WIDTHS = (576, 2048)
SIGMAS = (50.0, 1.0)
"""As published, and as the corrected mode has it for standardised vectors, which the random ones nearly are."""
REQUIRED = 500
"""The least ratio at width 2,048, as published."""


def resolvent(x: Any, sigma: float) -> Any:
    kernel = np.exp(-((x[:, None] - x) ** 2) / (2 * sigma**2))
    centred = kernel @ (np.eye(len(x)) - 1 / len(x))
    return centred @ np.linalg.inv(centred + 1e-5 * len(x) * np.eye(len(x)))


def dense(x: Any, y: Any, sigma: float) -> float:
    return float((resolvent(x, sigma) * resolvent(y, sigma).T).sum())


def fast(x: Any, y: Any, sigma: float) -> Any:
    kernel = Kernel(sigma=sigma)
    target = factor(y[None], kernel)
    return np.concatenate([dependence(psi, target)[:, 0] for _, psi in factors(x, kernel)])


def best(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(width: int, sigma: float) -> float:
    """Prints the times and returns their ratio."""
    rng = np.random.default_rng(width)
    x, y = rng.standard_normal((TOKENS, width)), rng.standard_normal(width)
    x[1] += y  # one token that does depend on the answer
    error = max(abs(value - dense(row, y, sigma)) for row, value in zip(x[:2], fast(x[:2], y, sigma), strict=True))
    assert error < 1e-8, f"the values differ by {error:.1e}"
    rank = factor(x, Kernel(sigma=sigma)).shape[1]
    slow = best(lambda: dense(x[0], y, sigma), 2)
    quick = best(lambda: fast(x, y, sigma), ROUNDS) / TOKENS
    print(
        f"width {width}, sigma {sigma:g}, rank {rank}: dense {1e3 * slow:.1f} ms per token, low rank "
        f"{1e3 * quick:.3f} ms; ratio {slow / quick:.0f}; largest difference {error:.1e}"
    )
    return slow / quick


def main() -> int:
    ratios = {(width, sigma): measure(width, sigma) for width in WIDTHS for sigma in SIGMAS}
    reached = ratios[2048, 50.0]
    print(f"required at width 2048, as published: {REQUIRED}; reached: {reached:.0f}")
    return 0 if reached >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
