"""Identities of CKA, the bias that it is freed of, subspaces, and dimensions that were planted."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_representation_similarity.cka import alignment, biased, gram, paired, permuted, u_centred
from deepsight_representation_similarity.shape import overlap, principal, two_nn

from deepsight_core.errors import DiagnosticError


def cka(x, y):
    return float(alignment(gram(x)[None], gram(y)[None])[0, 0])


def noise(rows: int, width: int, seed: int = 0):
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_it_is_the_published_unbiased_estimate():
    k, m = gram(noise(12, 5)), gram(noise(12, 7, seed=1) + 3)

    def hsic(a, b):
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        n, one = len(a), np.ones(len(a))
        middle = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        return (np.trace(a @ b) + middle - 2 / (n - 2) * one @ a @ b @ one) / (n * (n - 3))

    assert (u_centred(k) * u_centred(m)).sum() / (12 * 9) == pytest.approx(hsic(k, m))
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert alignment(k[None], m[None])[0, 0] == pytest.approx(expected)
    assert paired(k[None], m[None])[0] == pytest.approx(expected)


def test_a_representation_equals_itself_rotated_shifted_and_scaled():
    x = noise(60, 24)
    turn = np.linalg.qr(noise(24, 24, seed=2))[0]
    assert cka(x, x) == pytest.approx(1, abs=1e-12)
    assert cka(x, 5 * x @ turn + 9) == pytest.approx(1, abs=1e-10)


def test_independent_representations_have_nothing_in_common_although_the_biased_form_says_so():
    x, y = noise(128, 576), noise(128, 576, seed=1)
    assert biased(x, y) > 0.8
    values = [cka(noise(64, 200, seed=2 * seed), noise(64, 200, seed=2 * seed + 1)) for seed in range(30)]
    assert np.mean(values) == pytest.approx(0, abs=0.02) and abs(cka(x, y)) < 0.05


def test_the_published_example_of_the_bias():
    x, y = noise(512, 576), noise(512, 576, seed=1)
    assert biased(x, y) == pytest.approx(0.53, abs=0.01)
    assert abs(cka(x, y)) < 0.02


def test_in_another_order_of_the_samples_nothing_is_left():
    k = gram(noise(40, 8))[None]
    orders = [np.random.default_rng(seed).permutation(40) for seed in range(20)]
    null = permuted(k, k, [np.arange(40), *orders])
    assert null[0, 0] == pytest.approx(1) and abs(null[0, 1:].mean()) < 0.1


def test_three_samples_are_too_few():
    with pytest.raises(DiagnosticError, match="needs 4 samples"):
        cka(noise(3, 4), noise(3, 4))


def test_subspaces_overlap_by_what_they_share_and_at_random_by_their_share_of_the_width():
    axes = np.eye(20)
    assert overlap(axes[:, :4], axes[:, :4]) == 1
    assert overlap(axes[:, :4], axes[:, 2:6]) == pytest.approx(0.5)
    found = [
        overlap(principal(noise(80, 50, seed=s), 10), principal(noise(80, 50, seed=s + 99), 10)) for s in range(20)
    ]
    assert np.mean(found) == pytest.approx(10 / 50, abs=0.03)


@pytest.mark.parametrize("dimension", [2, 5, 10])
def test_planted_dimensions_are_found_in_a_wide_space(dimension: int):
    x = noise(600, dimension) @ noise(dimension, 100, seed=1)
    value, error, count = two_nn(x, np.arange(600))
    assert value == pytest.approx(dimension, rel=0.15) and count == 600
    assert error == pytest.approx(value / np.sqrt(540))


def test_repeated_rows_and_twins_do_not_pass_for_few_dimensions():
    x = noise(200, 5)
    twins = x + 1e-6 * noise(200, 5, seed=3)
    value, _, count = two_nn(np.vstack([x, x, twins]), np.tile(np.arange(200), 3))
    assert value == pytest.approx(5, rel=0.35) and count == 200
    assert two_nn(np.ones((30, 4)), np.arange(30))[0] is None
