"""Chance is computed, not drawn: it must be what all orders of the coordinates give."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from deepsight_mi_peaks.chance import Shape, above_chance, chance
from deepsight_mi_peaks.kernel import Kernel, dependence, factor


def test_mean_and_spread_are_those_of_all_orders():
    x, y = np.random.default_rng(0).standard_normal((2, 6))
    psi = factor(np.stack([x, y]), Kernel(sigma=1.0))
    every = [dependence(psi[:1], psi[1:, :, list(order)])[0, 0] for order in permutations(range(6))]
    mean, spread = chance(Shape.of(psi[:1]), Shape.of(psi[1:]))
    assert mean[0] == pytest.approx(np.mean(every))
    assert spread[0] == pytest.approx(np.std(every))


def test_equal_vectors_are_at_one_and_constant_ones_at_zero():
    x = np.random.default_rng(1).standard_normal((2, 50))
    x[1] = 4.0
    psi = factor(x, Kernel())
    shape = Shape.of(psi)
    values = above_chance(dependence(psi, psi[:1])[:, 0], shape, shape.row(0))
    assert values == pytest.approx([1.0, 0.0])


def test_unrelated_vectors_are_about_zero():
    x = np.random.default_rng(2).standard_normal((200, 100))
    psi = factor(x, Kernel(sigma=1.0))
    shape = Shape.of(psi)
    values = above_chance(dependence(psi[1:], psi[:1])[:, 0], Shape.of(psi[1:]), shape.row(0))
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(199)
