"""Own against others: partners are of other clusters, and what is near to everything does not count."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_mi_peaks.matching import choose_partners, gains

from deepsight_core.statistics import sign_flip


def test_partners_are_the_next_problems_around_the_end():
    assert choose_partners(["a", "b", "c", "d"], 2).tolist() == [[1, 2], [2, 3], [3, 0], [0, 1]]


def test_partners_are_of_other_clusters_and_as_many_for_each():
    assert choose_partners(["a", "a", "a", "b"], 8).tolist() == [[3], [3], [3], [0]]
    assert choose_partners(["a", "a"], 8).shape == (2, 0)
    assert choose_partners(["a"], 8).shape == (1, 0)


@pytest.mark.parametrize("most", [3, 9])
def test_what_is_near_to_everything_is_taken_off(most):
    rng = np.random.default_rng(0)
    answers, references = rng.standard_normal((2, 10))
    table = answers[:, None] + references + 0.25 * np.eye(10)
    partners = choose_partners([str(number) for number in range(10)], most)
    found = gains(np.diag(table), np.take_along_axis(table, partners, axis=1), partners)
    assert found == pytest.approx(0.25)


def test_noise_alone_is_rarely_found_and_a_small_gain_is():
    rng = np.random.default_rng(1)
    partners = choose_partners([str(number) for number in range(20)], 8)
    found = {0.0: 0, 1.5: 0}
    for gain in found:
        for seed in range(100):
            effects = 3 * rng.standard_normal((2, 20))
            table = effects[0][:, None] + effects[1] + rng.standard_normal((20, 20)) + gain * np.eye(20)
            special = gains(np.diag(table), np.take_along_axis(table, partners, axis=1), partners)
            found[gain] += sign_flip(special, np.arange(20), seed, flips=500) < 0.05
    assert found[0.0] <= 8 and found[1.5] >= 95


def test_a_reference_answer_that_nobody_else_was_held_against_counts_as_average():
    partners = np.array([[1], [0], [0]])
    found = gains(np.full(3, 5.0), np.full((3, 1), 2.0), partners)
    assert found == pytest.approx(3.0)
