"""Intervals, nulls and effect sizes: small pure functions on numpy arrays, shared by scoring and diagnostics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, lgamma, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def wilson(successes: float, count: int, level: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927, eq. for p given x of n), in [0, 1]. Needs count >= 1."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    low = 0.0 if successes == 0 else centre - half  # exactly, where rounding would leave 1e-17
    high = 1.0 if successes == count else centre + half
    return low, high


def cluster_means(values: ArrayLike, clusters: ArrayLike, resamples: int = 2000, seed: int = 0) -> Floats:
    """Means of `resamples` bootstrap draws of whole clusters (ratio of sums, so clusters may differ in size)."""
    values = np.asarray(values, dtype=np.float64)
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(which, weights=values)
    sizes = np.bincount(which).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 1_000_000 // len(sums))  # bounds the memory, however many clusters there are
    for start in range(0, resamples, block):
        draws = rng.integers(len(sums), size=(min(block, resamples - start), len(sums)))
        means[start : start + len(draws)] = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return means


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Interval:
    """The central `level` of bootstrap draws or of a null distribution; NaN draws are left out."""
    low, high = np.nanquantile(np.asarray(draws, dtype=np.float64), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def resampled_rows(clusters: ArrayLike, resamples: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Row numbers of bootstrap draws of whole clusters, for statistics that are not means."""
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.argsort(which, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(which))[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def permutation_p(observed: float, null: ArrayLike, two_sided: bool = False) -> float:
    """Share of the null at least as extreme as what was observed, counting the observation itself (never 0)."""
    draws: Floats = np.asarray(null, dtype=np.float64)
    if two_sided:
        centre = float(np.median(draws))
        draws, observed = np.abs(draws - centre), abs(observed - centre)
    return float((1 + np.sum(draws >= observed)) / (1 + draws.size))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p values (Holm 1979), in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]


def auroc(scores: ArrayLike, y: ArrayLike) -> float:
    """Area under the ROC curve: probability that a positive outranks a negative, ties counting half.
    NaN when a class is empty."""
    scores, y = np.asarray(scores, dtype=np.float64), np.asarray(y).astype(bool)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def correlation(one: ArrayLike, other: ArrayLike) -> float | None:
    """Pearson's, in [-1, 1]; None where either is constant or there are fewer than three."""
    x, y = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if len(x) < 3 or x.std() < 1e-12 or y.std() < 1e-12:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test: p value given the counts of discordant pairs (binomial with p = 1/2)."""
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2)) for i in range(k + 1))
    return min(1.0, 2 * tail)


def smallest_difference(discordant: float, count: int, level: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest difference of two paired proportions that McNemar's test at `level`, two-sided, finds with `power`.

    `discordant` is the share of pairs whose outcomes differ, q. Solves sqrt(n) d = z_a sqrt(q) + z_b sqrt(q - d^2) for
    d (Connor 1987, Biometrics 43: the sample size of McNemar's test). None where no such difference exists: nothing is
    discordant, or d would exceed q, which bounds it. The exact test has a little less power than this approximation.
    """
    normal = NormalDist()
    a, b = normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)
    if discordant <= 0 or count + b * b < a * a:
        return None
    found = sqrt(discordant) * (a * sqrt(count) + b * sqrt(count + b * b - a * a)) / (count + b * b)
    return found if found <= discordant else None


def sign_flip(differences: ArrayLike, clusters: ArrayLike, seed: int = 0, flips: int = 10_000) -> float:
    """Two-sided p that paired differences centre on 0: the sign of each cluster's sum is as likely to be either.

    All 2^k sign patterns for up to 13 clusters, else `flips` random ones (Fisher 1935; Winkler et al. 2014).
    """
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(which, weights=np.asarray(differences, dtype=np.float64))
    observed = abs(float(sums.sum())) - 1e-12  # ties by rounding count as ties
    if len(sums) <= 13:
        patterns = ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1) * 2 - 1
        return float((np.abs(patterns @ sums) >= observed).mean())
    rng = np.random.default_rng(seed)
    block = max(1, 1_000_000 // len(sums))  # bounds the memory
    extreme = 0
    for start in range(0, flips, block):
        signs = rng.integers(0, 2, size=(min(block, flips - start), len(sums))) * 2 - 1
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (1 + extreme) / (1 + flips)
