"""Peaks by the interquartile rule, what of them is position, and which tokens they fall on."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_mi_peaks.peaks import beyond_position, gap, height, peaks
from deepsight_mi_peaks.words import PRIOR, enriched


def test_a_peak_lies_one_and_a_half_interquartile_ranges_above_the_third_quartile():
    steps = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 6.9, 7.1])
    first, third = np.quantile(steps, [0.25, 0.75])
    assert third + 1.5 * (third - first) == pytest.approx(11.375)
    assert not peaks(steps).any()
    assert peaks(np.append(steps, 30.0)).tolist() == [False] * 7 + [True]


def test_each_trajectory_is_judged_by_its_own_quartiles():
    one = np.append(np.arange(10.0), 50.0)
    flags = peaks(np.stack([one, 100 * one, one[::-1]]))
    assert flags.sum(axis=1).tolist() == [1, 1, 1] and flags[2, 0]


def test_fewer_than_four_steps_have_no_peaks():
    assert not peaks(np.array([0.0, 0.0, 100.0])).any()
    assert peaks(np.zeros(0)).shape == (0,)


def test_height_is_the_distance_from_the_median_in_interquartile_ranges():
    steps = np.append(np.arange(9.0), 54.5)
    first, middle, third = np.quantile(steps, [0.25, 0.5, 0.75])
    assert height(steps, peaks(steps)) == pytest.approx((54.5 - middle) / (third - first))
    assert height(steps, np.zeros(10, dtype=bool)) is None
    flat = np.append(np.zeros(9), 1.0)
    assert height(flat, peaks(flat)) is None


def test_the_gap_is_counted_in_steps():
    assert gap(np.array([1, 0, 0, 1, 0, 1], dtype=bool)) == 2.5
    assert gap(np.array([1, 0], dtype=bool)) is None


def test_a_peak_that_all_answers_have_at_one_step_does_not_outlive_the_others_mean():
    rng = np.random.default_rng(0)
    rows = list(rng.uniform(size=(10, 40)))
    for row in rows:
        row[7] += 20
    rows[0][20] += 20
    counted = beyond_position(rows)
    assert counted[0] == (2, 1)
    assert counted[1:] == [(1, 0)] * 9


def test_steps_that_fewer_than_two_other_answers_reach_are_not_compared():
    rows = [np.append(np.arange(10.0), 99.0), np.arange(10.0), np.arange(10.0)]
    assert beyond_position(rows)[0] == (0, 0)


@pytest.fixture
def answers():
    """Thirty answers of 20 tokens; "wait" is a peak wherever it occurs, the other tokens at random."""
    rng = np.random.default_rng(1)
    words, flags = [], []
    for _ in range(30):
        row = [f" w{draw}" for draw in rng.integers(8, size=20)]
        flag = rng.uniform(size=20) < 0.05
        place = rng.integers(20)
        row[place], flag[place] = " Wait", True
        words.append(row)
        flags.append(flag)
    return words, flags


def test_a_token_that_is_always_a_peak_is_found_and_the_others_are_not(answers):
    found = enriched(*answers, shifts=200, seed=0)
    assert (found[0].word, found[0].peaks, found[0].count) == ("wait", 30, 30)
    assert found[0].p < 0.01 and found[0].low > 0
    assert all(other.p > 0.05 for other in found[1:])


def test_log_odds_are_those_of_the_published_formula(answers):
    words, flags = answers
    flat = [word.strip().lower() for row in words for word in row]
    at = np.concatenate(flags)
    hits, count, every = 30, flat.count("wait"), len(flat)
    prior = PRIOR * count / every

    def odds(mine, total):
        return np.log((mine + prior) / (total + PRIOR - mine - prior))

    expected = odds(hits, at.sum()) - odds(count - hits, every - at.sum())
    assert enriched(words, flags, shifts=20, seed=0)[0].log_odds == pytest.approx(expected)


def test_tokens_without_letters_or_digits_are_not_told():
    words = [[" .", " .", " a", " a", " b", " b"]] * 3
    flags = [np.array([1, 1, 0, 0, 0, 0], dtype=bool)] * 3
    assert enriched(words, flags, shifts=20, seed=0) == []


def test_without_peaks_there_is_no_list():
    assert enriched([["a", "b"]], [np.zeros(2, dtype=bool)], shifts=20, seed=0) == []
