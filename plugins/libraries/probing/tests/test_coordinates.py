"""Samples lie along a planted axis where they were put, and no row is placed by means that it is part of."""

from __future__ import annotations

import numpy as np
from deepsight_probing import axes, splits

from deepsight_core.crossfit import folds

RNG = np.random.default_rng(5)
Y = np.tile([0, 1], 100)
GROUPS = np.repeat(np.arange(100), 2)
FOLD = folds(Y, GROUPS, 4)
X = RNG.standard_normal((200, 3, 8))
X[:, 2, 0] += 4.0 * Y


def test_class_centres_lie_as_many_spreads_apart_as_planted() -> None:
    found = axes(X, Y, splits(GROUPS, FOLD))
    gaps = found.values[Y == 1].mean(axis=0) - found.values[Y == 0].mean(axis=0)
    assert abs(gaps[2] - 4.0) < 0.6 and np.abs(gaps[:2]).max() < 0.6
    assert abs(found.values[:, 2].mean()) < 0.2
    assert (found.vectors[:, 2, 0] / np.linalg.norm(found.vectors[:, 2], axis=1) > 0.95).all()


def test_a_row_is_placed_without_its_fold() -> None:
    moved = X.copy()
    moved[(FOLD == 1) & (Y == 1)] += 100 * RNG.standard_normal(8)
    before, after = axes(X, Y, splits(GROUPS, FOLD)), axes(moved, Y, splits(GROUPS, FOLD))
    assert np.allclose(before.vectors[1], after.vectors[1]) and not np.allclose(before.vectors[0], after.vectors[0])


def test_scale_changes_nothing_and_a_constant_layer_is_zero() -> None:
    scaled = X * 1000
    scaled[:, 0] = 7.0
    before, after = axes(X, Y, splits(GROUPS, FOLD)), axes(scaled, Y, splits(GROUPS, FOLD))
    assert np.allclose(before.values[:, 1:], after.values[:, 1:]) and (after.values[:, 0] == 0).all()


def test_rows_that_are_not_trainable_are_placed_and_teach_nothing() -> None:
    trainable = np.arange(200) < 160
    labels = np.where(trainable, Y, 0)
    found, same = axes(X, Y, splits(GROUPS, FOLD, trainable)), axes(X, labels, splits(GROUPS, FOLD, trainable))
    assert np.array_equal(found.values, same.values)
    assert found.values[~trainable & (Y == 1), 2].mean() - found.values[~trainable & (Y == 0), 2].mean() > 3
