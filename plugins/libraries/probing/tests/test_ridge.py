"""The fast algebra equals what one would write down naively in float64."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_probing import (
    auroc_within,
    bootstrap_auroc,
    calibration_error,
    difference_of_means,
    interval,
    ridge,
    select,
    side_by_side,
    splits,
    standardised,
    truthful_errors,
)

from deepsight_core.crossfit import cluster_weights, folds, shuffled_labels
from deepsight_core.statistics import auroc

PENALTIES = (0.1, 1.0, 10.0)
RNG = np.random.default_rng(7)
X = RNG.standard_normal((40, 9)).astype(np.float32) * np.arange(1, 10, dtype=np.float32)
GROUPS = np.r_[np.repeat(np.arange(10), 2), np.arange(10, 30)]
Y = np.r_[np.tile([0, 1], 10), np.tile([0, 1], 10)]
X[:, 0] += Y
FOLD = folds(Y, GROUPS, 4)
PARTS = splits(GROUPS, FOLD)
LABELS = np.column_stack([Y, shuffled_labels(Y, GROUPS, 5)])


def naive(labels, number):
    """Standardise, try each penalty by refitting without each cluster, refit with the best, score the test fold."""
    train, test = np.flatnonzero(number != FOLD), np.flatnonzero(number == FOLD)
    x = X.astype(np.float64)
    z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    t = labels[train] - labels[train].mean()
    unit = (z[train] ** 2).sum() / len(train)

    def weights(rows, penalty):
        a = z[train][rows]
        return np.linalg.solve(a.T @ a + penalty * unit * np.eye(a.shape[1]), a.T @ t[rows])

    def left_out(penalty):
        errors = []
        for cluster in np.unique(GROUPS[train]):
            out = GROUPS[train] == cluster
            errors += list((t[out] - z[train][out] @ weights(~out, penalty)) ** 2)
        return np.mean(errors)

    errors = [left_out(penalty) for penalty in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    return test, z[test] @ weights(np.ones(len(train), dtype=bool), best), min(errors)


def test_ridge_scores_and_inner_errors_equal_refitting_for_each_cluster_penalty_and_labelling():
    fit = ridge(standardised(X), LABELS, PARTS, PENALTIES)
    for number in range(4):
        for column in range(LABELS.shape[1]):
            test, scores, error = naive(LABELS[:, column], number)
            assert fit.scores[test, column] == pytest.approx(scores, rel=1e-8, abs=1e-10)
            assert fit.error[number, column] == pytest.approx(error, rel=1e-8)


def test_difference_of_means_scores_rank_as_projections_on_the_training_means():
    scores = difference_of_means(X, LABELS, PARTS)
    for number in range(4):
        train, test = number != FOLD, number == FOLD
        y = LABELS[train, 2]
        direction = X[train][y == 1].mean(axis=0, dtype=float) - X[train][y == 0].mean(axis=0, dtype=float)
        expected = X[test].astype(float) @ direction
        assert np.diff(scores[test, 2]) == pytest.approx(np.diff(expected), rel=1e-6, abs=1e-6)


def test_auroc_within_folds_counts_pairs_of_one_fold_and_half_of_ties():
    scores = np.round(RNG.standard_normal((40, 3)), 1)
    labels = LABELS[:, :3]
    for column in range(3):
        won = pairs = 0.0
        for i in range(40):
            for j in range(40):
                if FOLD[i] == FOLD[j] and labels[i, column] > labels[j, column]:
                    pairs += 1
                    won += (np.sign(scores[i, column] - scores[j, column]) + 1) / 2
        assert auroc_within(scores, labels, FOLD)[column] == pytest.approx(won / pairs)


def test_with_one_fold_it_is_the_ordinary_auroc():
    scores = RNG.standard_normal(40)
    assert auroc_within(scores[:, None], Y[:, None], np.zeros(40, dtype=int))[0] == pytest.approx(auroc(scores, Y))


def test_scores_that_are_constant_within_folds_give_exactly_one_half():
    base_rates = np.array([0.3, 0.5, 0.1, 0.9])[FOLD]
    assert auroc_within(base_rates[:, None], Y[:, None], FOLD).tolist() == [0.5]


def test_bootstrap_draws_equal_the_statistic_of_repeated_rows():
    scores = np.round(RNG.standard_normal(40), 1)
    weights = cluster_weights(GROUPS, 6)
    draws = bootstrap_auroc(scores, Y, FOLD, weights)
    for draw, weight in zip(draws, weights, strict=True):
        rows = np.repeat(np.arange(40), weight.astype(int))
        assert draw == pytest.approx(auroc_within(scores[rows, None], Y[rows, None], FOLD[rows])[0])


def test_a_perfect_score_does_not_claim_certainty():
    low, high = interval(1.0, np.ones(100), clusters=20)
    assert 0.8 < low < 0.9 and high == 1.0


def test_a_feature_that_is_constant_in_training_is_dropped_at_any_scale():
    x = np.column_stack([X[:, 0], np.full(40, 1e4, dtype=np.float32)])
    kernel = standardised(x)(np.arange(30))
    assert kernel == pytest.approx(standardised(X[:, :1])(np.arange(30)), abs=1e-12)


def test_probabilities_of_a_well_separated_training_set_are_calibrated_and_bounded():
    fit = ridge(standardised(X + 50 * Y[:, None]), LABELS, PARTS, PENALTIES)
    assert (fit.probability[Y == 1] > 0.5).all() and (fit.probability[Y == 0] < 0.5).all()
    assert fit.probability.min() > 0 and fit.probability.max() < 1


def test_calibration_error_is_the_mean_gap_over_bins():
    p = np.array([0.05, 0.15, 0.15, 0.95])
    y = np.array([0, 1, 0, 1])
    expected = (abs(0.05) + abs(0.3 - 1) + abs(0.95 - 1)) / 4
    assert calibration_error(p, y[:, None])[0] == pytest.approx(expected)


def test_features_side_by_side_are_one_probe_on_both_at_their_shares():
    train = np.arange(30)
    one, other = X[:, :3].astype(float), X[:, 3:].astype(float)

    def centred(x):
        z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        return z / np.sqrt((z[train] ** 2).sum(axis=1).mean())

    both = np.hstack([np.sqrt(0.25) * centred(one), np.sqrt(0.75) * centred(other)])
    kernel = side_by_side([(standardised(one), 0.25), (standardised(other), 0.75)])
    assert kernel(train) == pytest.approx(both @ both.T)


def test_features_that_do_not_vary_add_nothing_side_by_side():
    still = np.ones((40, 2))
    kernel = side_by_side([(standardised(still), 0.5), (standardised(X), 0.5)])(np.arange(30))
    assert np.isfinite(kernel).all() and kernel.any()


def test_each_fold_and_labelling_is_scored_by_the_probe_with_the_smallest_inner_error():
    fits = [ridge(standardised(X[:, columns]), LABELS, PARTS, PENALTIES) for columns in (slice(3, 6), slice(0, 3))]
    selected = select(fits, FOLD)
    for row in range(40):
        for column in range(LABELS.shape[1]):
            best = min(fits, key=lambda fit: fit.error[FOLD[row], column])
            assert selected.scores[row, column] == best.scores[row, column]
    assert selected.usual == 1 and len(selected.places) == 40


def test_truthful_probabilities_show_an_error_that_shrinks_with_the_number_of_samples():
    few, many = (truthful_errors(RNG.random(count), 200).mean() for count in (30, 3000))
    assert few > 3 * many > 0
