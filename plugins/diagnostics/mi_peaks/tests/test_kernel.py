"""The low-rank value is the dense one, keeps its identities, and the published precision does not."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_mi_peaks.kernel import PUBLISHED, Kernel, dependence, factor, factors, median_bandwidth

KERNELS = [Kernel(), Kernel(sigma=1.0), Kernel(sigma=None), Kernel("imq"), Kernel("linear")]


def fast(x, y, kernel=PUBLISHED):
    psi = factor(np.stack([x, y]).astype(np.float64), kernel)
    return float(dependence(psi[:1], psi[1:])[0, 0])


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("scale", [0.02, 0.2, 1.0, 20.0])
def test_the_low_rank_value_is_the_dense_one(dense, kernel, scale):
    x, y = scale * np.random.default_rng(1).standard_normal((2, 120))
    assert fast(x, x + 0.5 * y, kernel) == pytest.approx(dense(x, x + 0.5 * y, kernel), abs=1e-8)


def test_massive_coordinates_are_no_matter(dense):
    x, y = np.random.default_rng(2).standard_normal((2, 200))
    x[[3, 77]], y[3] = (400.0, -900.0), 700.0
    assert fast(x, y) == pytest.approx(dense(x, y), abs=1e-8)


def test_hundreds_of_coordinates_far_apart_raise_the_rank_and_keep_the_value(dense):
    x, y = 500 * np.random.default_rng(3).standard_normal((2, 150))
    kernel = Kernel(sigma=5.0)
    assert factor(x[None], kernel).shape[1] > 100
    assert fast(x, y, kernel) == pytest.approx(dense(x, y, kernel), abs=1e-8)


def test_the_value_with_itself_is_the_sum_of_squared_filtered_eigenvalues():
    x = 3 * np.random.default_rng(4).standard_normal(90)
    centre = np.eye(90) - 1 / 90
    values = np.linalg.eigvalsh(centre @ np.exp(-((x[:, None] - x) ** 2) / 5000) @ centre)
    assert fast(x, x) == pytest.approx(((values / (values + 1e-5 * 90)) ** 2).sum(), abs=1e-8)


def test_a_common_order_of_coordinates_and_a_constant_shift_change_nothing():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 80))
    order = rng.permutation(80)
    assert fast(x[order], y[order]) == pytest.approx(fast(x, y), abs=1e-10)
    assert fast(x + 3, y) == pytest.approx(fast(x, y), abs=1e-9)


def test_the_published_float32_fails_where_activations_are_small(dense):
    x, y = 0.2 * np.random.default_rng(6).standard_normal((2, 1024))
    x += y
    exact = dense(x, y)
    assert fast(x, y) == pytest.approx(exact, rel=1e-8)
    assert abs(dense(x, y, dtype=np.float32) - exact) > 1e-3 * exact


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_constant_vector_depends_on_nothing(kernel):
    y = np.random.default_rng(7).standard_normal(40)
    assert fast(np.full(40, 2.5), y, kernel) == pytest.approx(0, abs=1e-12)
    assert fast(np.zeros(40), y, kernel) == pytest.approx(0, abs=1e-12)


def test_the_linear_kernel_has_its_closed_form():
    x, y = np.random.default_rng(8).standard_normal((2, 60))
    a, b = x - x.mean(), y - y.mean()
    c = 1e-5 * 60
    assert fast(x, y, Kernel("linear")) == pytest.approx((a @ b) ** 2 / ((a @ a + c) * (b @ b + c)))


def test_blocks_of_unlike_rank_give_what_single_vectors_give():
    x = np.random.default_rng(9).standard_normal((40, 2048)) * np.logspace(-2, 2.5, 40)[:, None]
    y = factor(x[:1], Kernel())
    together = np.concatenate([dependence(psi, y) for _, psi in factors(x, Kernel())])[:, 0]
    assert together == pytest.approx([fast(row, x[0]) for row in x], abs=1e-9)


@pytest.mark.parametrize("width", [2, 3, 4, 5, 30, 31])
def test_the_median_bandwidth_is_that_of_all_pairs(width):
    x = np.random.default_rng(width).standard_normal(width)
    twice = np.concatenate([x, x])
    pairs = ((twice[:, None] - twice) ** 2)[np.tril_indices(2 * width, -1)]
    assert median_bandwidth(x) == pytest.approx(max(np.median(pairs), 1e-2))


def test_where_most_coordinates_agree_the_mean_squared_distance_stands_in_for_the_median():
    x = np.zeros(20)
    x[0] = 9.0
    twice = np.concatenate([x, x])
    pairs = ((twice[:, None] - twice) ** 2)[np.tril_indices(40, -1)]
    assert np.median(pairs) == 0
    assert median_bandwidth(x) == pytest.approx(pairs.mean())
