"""Effects over pairs: what the formulas say, and no more findings than chance allows."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_activation_patching.effects import draws, effects, rises

from deepsight_core.statistics import correlation


def test_an_effect_is_the_mean_change_over_the_mean_gap() -> None:
    random = np.random.default_rng(0)
    gap, change = random.uniform(1, 9, 20), random.normal(size=(3, 20))
    found = effects(change, 0 * change, gap, draws(20, 300, 100, 0))
    np.testing.assert_allclose(found.value, change.mean(axis=1) / gap.mean())
    low, high = found.interval
    assert (low < found.value).all() and (found.value < high).all()


def test_both_directions_have_the_same_sign() -> None:
    gap = np.linspace(2, 5, 12)
    one = effects(gap[None], 0 * gap[None], gap, draws(12, 100, 500, 0))
    other = effects(-gap[None], 0 * gap[None], -gap, draws(12, 100, 500, 0))
    assert one.value[0] == other.value[0] == 1
    assert one.p[0] == other.p[0] < 0.01


def test_where_twins_do_no_more_than_strangers_nothing_is_found() -> None:
    hits = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        change, unrelated = random.normal(size=(2, 20, 16)).cumsum(axis=1)
        found = effects(change, unrelated, random.uniform(1, 5, 16), draws(16, 100, 200, seed))
        hits += bool((found.p <= 0.05).any())
    assert hits <= 9  # 5 are expected; more than 9 have a probability of 3 %


@pytest.mark.parametrize(("profile", "layer"), [([0, 0.1, 0.9, 1.0], 2), ([0.8, 0.9, 1.0], 0)])
def test_the_jump_is_where_the_profile_rises_most(profile: list[float], layer: int) -> None:
    assert rises(np.array(profile)) == layer


def test_a_correlation_of_what_does_not_vary_is_unknown() -> None:
    assert correlation(np.ones(5), np.arange(5.0)) is None
    assert correlation(np.arange(5.0), 2 * np.arange(5.0)) == pytest.approx(1)
