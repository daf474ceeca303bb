"""Folds, shuffled labels and bootstrap weights keep clusters whole."""

from __future__ import annotations

import numpy as np
import pytest

from deepsight_core.crossfit import attributed, cluster_weights, familywise_p, folds, numbered, shuffled_labels, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, Want

PAIRS = np.repeat(np.arange(20), 2)
PAIRED = np.tile([0, 1], 20)


def test_no_cluster_is_split_between_folds():
    fold = folds(PAIRED, PAIRS, 5)
    assert all(len(set(fold[cluster == PAIRS])) == 1 for cluster in range(20))
    assert np.bincount(fold).tolist() == [8] * 5


def test_folds_spread_a_rare_class_evenly():
    y = np.r_[np.ones(10, dtype=int), np.zeros(90, dtype=int)]
    fold = folds(y, np.arange(100), 5, seed=3)
    assert np.bincount(fold[y == 1]).tolist() == [2] * 5


def test_folds_do_not_depend_on_what_the_clusters_are_called():
    names = np.array([f"group {99 - cluster}" for cluster in PAIRS])
    assert (folds(PAIRED, PAIRS, 4, seed=1) == folds(PAIRED, names, 4, seed=1)).all()


def test_too_few_clusters_of_a_class_are_refused_with_their_number():
    with pytest.raises(DiagnosticError, match=r"5 folds need 5 independent clusters .* class 1 appears in 3 of 23"):
        folds(np.r_[np.ones(6, dtype=int), np.zeros(20, dtype=int)], np.r_[0, 0, 1, 1, 2, 2, np.arange(3, 23)], 5)


def test_labels_of_pairs_swap_inside_the_pair_only():
    drawn = shuffled_labels(PAIRED, PAIRS, 400, seed=0)
    assert (drawn[0::2] + drawn[1::2] == 1).all()
    assert drawn.mean(axis=1) == pytest.approx(0.5, abs=0.1)


def test_clusters_of_one_label_exchange_their_labels_as_wholes():
    groups = np.repeat(np.arange(6), 3)
    drawn = shuffled_labels(groups < 3, groups, 400, seed=0).reshape(6, 3, 400)
    assert (drawn == drawn[:, :1]).all()
    assert (drawn[:, 0].sum(axis=0) == 3).all()
    assert drawn[:, 0].mean(axis=1) == pytest.approx(0.5, abs=0.1)


def test_mixed_and_pure_clusters_are_permuted_side_by_side():
    groups = np.array(["a", "p", "a", "q", "r", "s"])
    y = np.array([0, 1, 1, 1, 0, 0])
    drawn = shuffled_labels(y, groups, 300, seed=1)
    assert (drawn[0] + drawn[2] == 1).all()
    assert (drawn[[1, 3, 4, 5]].sum(axis=0) == 2).all()
    assert len(np.unique(drawn, axis=1).T) == 2 * 6


def test_bootstrap_weights_draw_whole_clusters_and_keep_their_number():
    weights = cluster_weights(PAIRS, 500, seed=2)
    assert (weights[:, 0::2] == weights[:, 1::2]).all()
    assert (weights.sum(axis=1) == 40).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.2)


def test_familywise_p_counts_permutations_whose_largest_statistic_reaches_the_observed_one():
    null = [[0.1, 0.5, 0.2], [0.3, 0.1, 0.9]]  # largest: .3 .5 .9
    assert familywise_p([0.5, 1.0], null).tolist() == [3 / 4, 1 / 4]


def test_clusters_are_numbered_by_first_appearance():
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_a_nan_is_refused_with_the_sample_and_the_layer():
    array = np.zeros((2, 3, 1, 4), dtype=np.float32)
    array[1, 2, 0, 0] = np.nan
    acts = Acts(("a", "b"), {Want(): array}, {Want(): (4, 5, 6)})
    message = r"spin: the resid_out .* sample 'b' at layer 6 hold NaN"
    with pytest.raises(DiagnosticError, match=message), attributed("spin"):
        vectors(acts, Want(), ("a", "b"))


def test_vectors_come_in_the_order_that_was_asked_for():
    acts = Acts(("a", "b"), {Want(): np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)}, {Want(): (0,)})
    assert vectors(acts, Want(), ("b", "a")).tolist() == [[[1.0]], [[0.0]]]
