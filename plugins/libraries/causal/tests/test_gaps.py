"""Gaps between cohorts, and the tokens that open answers."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_causal import gaps

RNG = np.random.default_rng(0)
OPTIONS = {"permutations": 199, "resamples": 300}


def test_a_gap_is_the_difference_of_means() -> None:
    x, y = RNG.normal(size=(40, 3)), np.arange(40) % 2
    found = gaps(x, y, np.arange(40) // 2, **OPTIONS)
    np.testing.assert_allclose(found.value, x[y == 1].mean(0) - x[y == 0].mean(0))
    assert (found.low < found.value).all() and (found.value < found.high).all()


def test_a_planted_column_is_the_only_one_beyond_the_null() -> None:
    x, y = RNG.normal(size=(60, 20)), np.arange(60) % 2
    x[:, 7] += 2 * y
    found = gaps(x, y, np.arange(60) // 2, **OPTIONS)
    assert np.flatnonzero(found.p <= 0.05).tolist() == [7]
    assert found.low[7] > found.null_high[7]


def test_the_scale_of_a_column_changes_no_p() -> None:
    x, y = RNG.normal(size=(40, 4)), np.arange(40) % 2
    one = gaps(x, y, np.arange(40), **OPTIONS)
    other = gaps(x * [1, 1000, 1e-3, 1], y, np.arange(40), **OPTIONS)
    np.testing.assert_allclose(one.p, other.p)


def test_a_column_that_never_moves_is_nothing() -> None:
    found = gaps(np.ones((20, 1)), np.arange(20) % 2, np.arange(20), **OPTIONS)
    assert found.value[0] == 0 and found.p[0] == pytest.approx(1)


def test_noise_is_found_in_about_one_of_twenty_seeds() -> None:
    y, groups = np.arange(40) % 2, np.arange(40) // 2
    noise = (np.random.default_rng(seed).normal(size=(40, 30)) for seed in range(200))
    found = sum(gaps(x, y, groups, permutations=99, resamples=2, seed=n).p.min() <= 0.05 for n, x in enumerate(noise))
    assert found <= 18  # 10 are expected; more than 18 come about once in 200
