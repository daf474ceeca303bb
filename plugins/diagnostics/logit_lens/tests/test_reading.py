"""Small functions on log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_logit_lens.reading import course, first_from, least_entropy, log_odds, seen


def test_no_distribution_with_these_probabilities_has_less_entropy() -> None:
    p = np.array([0.5, 0.2, 0.2, 0.1])
    whole = -(p * np.log(p)).sum()
    assert least_entropy(np.log(p[:2])) == pytest.approx(-(0.5 * np.log(0.5) + 0.2 * np.log(0.2) + 0.3 * np.log(0.3)))
    assert least_entropy(np.log(p[:2])) < whole
    assert least_entropy(np.log(p)) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(
    ("mass", "expected"),
    [
        ([0, 0, 0], (None, None)),
        ([0, 0.6, 0.9], (1, None)),
        ([0, 0.6, 0.1], (1, 2)),
        ([0.6, 0.1, 0.7, 0.1, 0], (0, 3)),
        ([0.6, 0.1, 0.7], (0, None)),
    ],
)
def test_a_refusal_comes_once_and_goes_for_good(mass: list[float], expected: tuple[int | None, int | None]) -> None:
    assert course(np.array(mass), 0.5) == expected


def test_what_does_not_hold_at_the_end_holds_from_nowhere() -> None:
    assert first_from(np.array([False, True, True])) == 1
    assert first_from(np.array([True, True])) == 0
    assert first_from(np.array([True, False])) is None


def test_the_mass_is_the_sum_over_tokens_and_the_odds_are_its_log_odds() -> None:
    found = seen(np.log([[[0.2, 0.3]]]), (0,))
    assert found.mass[0, 0] == pytest.approx(0.5)
    assert found.odds[0, 0] == pytest.approx(0, abs=1e-6)


def test_the_odds_of_tiny_probabilities_are_not_cut_off() -> None:
    assert log_odds(np.array([-40.0, -40.0]))[0] == pytest.approx(-40 + np.log(2))
