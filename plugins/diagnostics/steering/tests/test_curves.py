"""What curves say, against numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_steering.curves import crossing, half_effect, monotonicity, repeated, slope_at_zero

DOSES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def test_monotonicity_is_spearmans_rho_with_ties_in_the_middle():
    rows = np.array([[1, 2, 3, 4, 50], [5, 4, 3, 2, 1], [0, 0, 0, 0, 0], [1, 1, 2, 3, 3]], dtype=float)
    tied = np.corrcoef([0, 1, 2, 3, 4], [0.5, 0.5, 2, 3.5, 3.5])[0, 1]
    assert monotonicity(DOSES, rows) == pytest.approx([1, -1, 0, tied])


def test_the_slope_at_zero_is_that_of_a_line():
    assert slope_at_zero(DOSES, [3 * DOSES + 1, np.zeros(5)]) == pytest.approx([3, 0])


def test_half_of_the_effect_is_reached_where_the_curve_says():
    assert half_effect(DOSES, [0, 0, 0, 1, 4]) == pytest.approx(1 + 1 / 3)
    assert half_effect(DOSES, [0, 0, 0, -1, -2]) == pytest.approx(1)
    assert half_effect(DOSES, [1, 1, 1, 1, 1]) is None


def test_a_crossing_is_interpolated_and_the_first_one_counts():
    assert crossing([0, 1, 2], [-1, 3, -5], 0) == pytest.approx(0.25)
    assert crossing([0, -1, -2], [2, 1, -1], 0) == pytest.approx(-1.5)
    assert crossing([0, 1], [2, 1], 0) is None
    assert crossing([0, 1], [0, 1], 0) == 0


def test_repetition_counts_sequences_that_were_there_before():
    assert repeated([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert repeated([7] * 12) == pytest.approx(0.9)
    assert repeated([1, 2]) == 0
