"""Angles and energies: what they are by loops, what spread alone does to them, and what noise does."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_safety_layers.angles import Pairs, angles


def planted(shift: float, spread: float = 1.0, layers: int = 4, start: int = 2, seed: int = 0, width: int = 24):
    """40 pairs; positive rows are shifted from layer `start` on, negative ones have `spread` times the deviation."""
    rng = np.random.default_rng(seed)
    y, groups = np.tile([1, 0], 40), np.repeat(np.arange(40), 2)
    states = rng.normal(size=(80, layers, width))
    states[y == 0] *= spread
    states[..., 0] += 6  # all texts share a direction, as in a real model
    states[y == 1, start:, 1] += shift
    return states, y, groups


def measured(states, y, groups, permutations: int = 99):
    return angles(states, Pairs(y, groups, permutations, 200, 0))


def test_angles_and_energies_are_those_of_loops_over_pairs_of_different_clusters():
    states, y, groups = planted(2.0, layers=1, start=0)
    found = measured(states, y, groups)
    x = states[:, 0]
    cosines, distances = {}, {}
    for i in range(80):
        for j in range(80):
            if groups[i] != groups[j]:
                kind = int(y[i] + y[j])
                cosines.setdefault(kind, []).append(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))
                distances.setdefault(kind, []).append(np.linalg.norm(x[i] - x[j]))
    nn, nm, mm = (np.degrees(np.arccos(np.mean(cosines[kind]))) for kind in range(3))
    assert (found.harmless[0], found.between[0], found.harmful[0]) == pytest.approx((nn, nm, mm))
    assert found.corrected.value[0] == pytest.approx(nm - (nn + mm) / 2)
    within = (np.mean(distances[0]) + np.mean(distances[2])) / 2
    assert found.energy.value[0] == pytest.approx(1 - within / np.mean(distances[1]))


def test_a_planted_difference_is_found_from_its_layer_on():
    found = measured(*planted(2.5))
    for one in (found.corrected, found.energy):
        assert (one.p <= 0.05).tolist() == [False, False, True, True]
        assert (one.low[2:] > 0).all() and (one.value[2:] > one.null_high[2:]).all()


def test_spread_alone_hides_the_published_gap_and_not_the_corrected_one():
    found = measured(*planted(2.5, spread=1.4))
    assert (found.published.value[2:] < 0).all() and (found.corrected.value[2:] > 0).all()
    assert (found.corrected.p[2:] <= 0.05).all()


def test_noise_leaves_its_band_in_at_most_five_of_a_hundred_seeds():
    claimed = [measured(*planted(0, seed=seed), permutations=39).corrected.p.min() <= 0.05 for seed in range(100)]
    assert sum(claimed) <= 8, "five are expected"


def test_neither_scale_nor_rotation_of_the_activations_moves_anything():
    states, y, groups = planted(2.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(24, 24)))[0]
    one, other = measured(states, y, groups), measured(7 * states @ turn, y, groups)
    assert other.energy.value == pytest.approx(one.energy.value)
    assert other.published.value == pytest.approx(one.published.value)
