"""The corrected measures: what they are, and that width, scale and chance do not move them."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_tellme.measures import centred_products, energy, euclidean, rate_reduction

KIND = np.arange(80) % 2


def planted(width: int, share: float, seed: int = 0, count: int = 80) -> np.ndarray:
    """Classes whose means make up this share of the total variance."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=width)
    sign = (np.arange(count) % 2) * 2 - 1
    noise = rng.normal(size=(count, width)) * np.sqrt((1 - share) / width)
    return noise + np.sqrt(share) * sign[:, None] * direction / np.linalg.norm(direction)


def excess(x: np.ndarray, shuffles: int = 20) -> float:
    products = centred_products(x)
    rng = np.random.default_rng(1)
    return rate_reduction(products, KIND) - float(
        np.mean([rate_reduction(products, rng.permutation(KIND)) for _ in range(shuffles)])
    )


def test_the_rate_reduction_is_the_formula() -> None:
    x = planted(6, 0.4)
    scatter = [np.cov(x[rows].T, bias=True) for rows in (slice(None), KIND == 0, KIND == 1)]
    unit = 0.1 * np.trace(scatter[0])
    rates = [0.5 * np.log(np.linalg.det(np.eye(6) + s / unit)) for s in scatter]
    expected = (rates[0] - rates[1] / 2 - rates[2] / 2) / (0.5 * np.log(11))
    assert rate_reduction(centred_products(x), KIND) == pytest.approx(expected)


def test_the_energy_coefficient_is_the_loop_and_leaves_out_pairs_of_a_cluster() -> None:
    x, groups = planted(5, 0.3), np.arange(80) // 2
    sums = {pair: [] for pair in ((0, 0), (1, 1), (0, 1))}
    for i in range(80):
        for j in range(80):
            if groups[i] != groups[j] and (KIND[i], KIND[j]) in sums:
                sums[KIND[i], KIND[j]].append(np.linalg.norm(x[i] - x[j]))
    means = {pair: np.mean(values) for pair, values in sums.items()}
    expected = 1 - (means[0, 0] + means[1, 1]) / (2 * means[0, 1])
    assert energy(euclidean(centred_products(x)), KIND, groups) == pytest.approx(expected)


def test_neither_changes_with_scale_rotation_or_a_shift_of_all_rows() -> None:
    x = planted(7, 0.3)
    moved = 1e4 * x @ np.linalg.qr(np.random.default_rng(5).normal(size=(7, 7)))[0] + 17
    for measure in (rate_reduction, lambda p, k: energy(euclidean(p), k, np.arange(80))):
        assert measure(centred_products(moved), KIND) == pytest.approx(measure(centred_products(x), KIND), rel=1e-6)


def test_classes_without_spread_explain_everything() -> None:
    x = np.where(KIND[:, None] == 0, [1.0, 0.0, 0.0], [0.0, 2.0, 0.0])
    assert rate_reduction(centred_products(x), KIND) == pytest.approx(1)
    assert energy(euclidean(centred_products(x)), KIND, np.arange(80)) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_width_of_the_model_does_not_move_the_excess(share: float) -> None:
    narrow, wide = (np.mean([excess(planted(width, share, seed)) for seed in range(4)]) for width in (64, 1024))
    assert wide == pytest.approx(narrow, abs=0.03)
    assert (narrow < 0.02) == (share == 0.0)
