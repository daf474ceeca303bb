"""Specific effects and angles: what the formulas say, and no more findings than chance allows."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_safety_heads.findings import rank_correlation
from deepsight_safety_heads.study import Part, specificity
from deepsight_safety_heads.subspace import turned

from deepsight_core import Prompt
from deepsight_core.crossfit import cluster_weights, shuffled_labels


def part(pairs: int, seed: int) -> Part:
    y, groups = np.arange(2 * pairs) % 2, np.arange(2 * pairs) // 2
    prompts = tuple(Prompt(id=f"p{n}", messages=()) for n in range(2 * pairs))
    return Part(prompts, y, shuffled_labels(y, groups, 200, seed), cluster_weights(groups, 200, seed))


def test_a_specific_effect_is_a_difference_of_means() -> None:
    own, change = part(10, 0), np.random.default_rng(0).normal(size=(20, 3))
    change[own.y == 1, 1] -= 4
    found = specificity(change, own)
    np.testing.assert_allclose(found.value, change[1::2].mean(axis=0) - change[::2].mean(axis=0))
    assert found.p[1] < 0.01 and found.p[0] > 0.05
    low, high = found.interval
    assert (low < found.value).all() and (found.value < high).all()


def test_where_labels_mean_nothing_nothing_is_found() -> None:
    hits = 0
    for seed in range(100):
        change = np.random.default_rng(seed).normal(size=(24, 40)) * np.geomspace(0.01, 10, 40)
        hits += bool((specificity(change, part(12, seed)).p <= 0.05).any())
    assert hits <= 9  # 5 are expected; more than 9 have a probability of 3 %


def test_angles_are_those_by_which_a_subspace_was_turned() -> None:
    random = np.random.default_rng(1)
    u, v = np.eye(8)[:2]
    weights = random.normal(size=20)
    before = np.outer(weights, u)
    after = np.outer(weights, np.cos(0.3) * u + np.sin(0.3) * v)
    right, left = turned(before, after, 1)
    assert right == pytest.approx(np.degrees(0.3)) and left == pytest.approx(0, abs=1e-6)


def test_only_left_vectors_turn_when_some_states_grow() -> None:
    random = np.random.default_rng(2)
    before = np.outer(random.uniform(1, 2, 20), np.eye(8)[0])
    right, left = turned(before, before * np.linspace(1, 3, 20)[:, None], 1)
    assert right == pytest.approx(0, abs=1e-6) and left > 5


def test_a_rank_correlation_knows_order_alone() -> None:
    assert rank_correlation(np.arange(6.0), np.exp(np.arange(6.0))) == pytest.approx(1)
    assert rank_correlation(np.arange(2.0), np.arange(2.0)) is None
