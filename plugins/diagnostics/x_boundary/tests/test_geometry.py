"""The fast algebra equals what one would write down naively in float64."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_x_boundary.classes import BOUNDARY, HARMFUL, SAFE, Classes
from deepsight_x_boundary.geometry import Layout, projections, silhouettes, squared_distances, without
from deepsight_x_boundary.published import indices, published

from deepsight_core.crossfit import cluster_weights, shuffled_labels

RNG = np.random.default_rng(11)
KIND = np.array([HARMFUL, SAFE] * 6 + [SAFE] * 3 + [HARMFUL] * 2 + [BOUNDARY] * 4)
GROUPS = np.r_[np.repeat(np.arange(6), 2), 6, 7, 8, 9, 9, 10, 11, 12, 0]
X = RNG.standard_normal((len(KIND), 5)) + 1.5 * (KIND == HARMFUL)[:, None]
CLASSES = Classes(tuple(f"{row:02}" for row in range(len(KIND))), KIND, GROUPS)
LAYOUT = Layout(CLASSES, permutations=5, resamples=6, seed=0)


def mean_squared(a, b, x=X, groups=GROUPS):
    """Mean squared distance over pairs of rows of different clusters; row numbers may repeat."""
    pairs = [((x[i] - x[j]) ** 2).sum() for i in a for j in b if groups[i] != groups[j]]
    return np.mean(pairs)


def naive(h, s, b):
    hh, ss, hs = mean_squared(h, h), mean_squared(s, s), mean_squared(h, s)
    gap, spread = hs - (hh + ss) / 2, (hh + ss) / 4
    boundary = 0.5 + (mean_squared(b, s) - mean_squared(b, h) - (ss - hh) / 2) / (2 * gap) if gap > 0 else np.nan
    return np.sign(gap) * np.sqrt(abs(gap) / spread), boundary


def rows(kind, kinds=KIND):
    return np.flatnonzero(kinds == kind)


def test_separation_and_boundary_position_equal_loops_over_pairs():
    seen = LAYOUT.observed(squared_distances(X))
    expected = naive(rows(HARMFUL), rows(SAFE), rows(BOUNDARY))
    assert (seen.separation[0], seen.boundary[0]) == pytest.approx(expected)


def test_every_bootstrap_draw_equals_loops_over_the_repeated_rows():
    drawn = LAYOUT.resampled(squared_distances(X))
    for number, weights in enumerate(cluster_weights(GROUPS, 6, 0)):
        taken = [np.repeat(rows(kind), weights[rows(kind)].astype(int)) for kind in (HARMFUL, SAFE, BOUNDARY)]
        expected = naive(*taken)
        assert drawn.separation[number] == pytest.approx(expected[0])
        assert drawn.boundary[number] == pytest.approx(expected[1], nan_ok=True)


def test_every_permutation_equals_relabelling():
    two = np.flatnonzero(KIND != BOUNDARY)
    labels = shuffled_labels(KIND[two] == HARMFUL, GROUPS[two], 5, 0)
    values = LAYOUT.shuffled(squared_distances(X)).separation
    for number in range(5):
        h, s = two[labels[:, number] == 1], two[labels[:, number] == 0]
        assert values[number] == pytest.approx(naive(h, s, rows(BOUNDARY))[0])


def test_for_single_samples_the_gap_is_the_debiased_distance_of_the_means():
    single = Classes(CLASSES.ids, KIND, np.arange(len(KIND)))
    h, s = X[KIND == HARMFUL], X[KIND == SAFE]
    trace_h, trace_s = h.var(axis=0, ddof=1).sum(), s.var(axis=0, ddof=1).sum()
    gap = ((h.mean(axis=0) - s.mean(axis=0)) ** 2).sum() - trace_h / len(h) - trace_s / len(s)
    expected = np.sqrt(gap / ((trace_h + trace_s) / 2))
    assert Layout(single, 1, 1, 0).observed(squared_distances(X)).separation[0] == pytest.approx(expected)


@pytest.mark.parametrize("paired", [False, True])
def test_without_a_gap_its_estimate_is_zero_on_average(paired):
    kind = np.tile([HARMFUL, SAFE], 10)
    groups = np.repeat(np.arange(10), 2) if paired else np.arange(20)
    layout = Layout(Classes(("",) * 20, kind, groups), 1, 1, 0)
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(400):
        x = rng.standard_normal((20, 4))
        if paired:  # twins share most of what they are
            x += 2 * np.repeat(rng.standard_normal((10, 4)), 2, axis=0)
        gaps.append(layout.observed(squared_distances(x)).gap[0])
    assert np.mean(gaps) == pytest.approx(0, abs=3 * np.std(gaps) / 20)


def test_projections_leave_out_the_cluster_of_the_projected_row():
    places = projections(squared_distances(X), CLASSES)
    for row in range(len(KIND)):
        h, s = ([i for i in rows(kind) if GROUPS[i] != GROUPS[row]] for kind in (HARMFUL, SAFE))
        assert places[row] == pytest.approx(naive(h, s, [row])[1])


def test_silhouettes_equal_the_definition():
    harmful = KIND[:15] == HARMFUL
    values = silhouettes(squared_distances(X[:15]), harmful)
    for row in range(15):
        distance = np.linalg.norm(X[:15] - X[row], axis=1)
        own = distance[(harmful == harmful[row]) & (np.arange(15) != row)].mean()
        other = distance[harmful != harmful[row]].mean()
        assert values[row] == pytest.approx((other - own) / max(own, other))


def test_regressing_out_a_covariate_equals_least_squares_on_every_coordinate():
    t = RNG.standard_normal(len(X))
    design = np.column_stack([t, np.ones(len(t))])
    residual = X - design @ np.linalg.lstsq(design, X, rcond=None)[0]
    assert without(squared_distances(X), t) == pytest.approx(squared_distances(residual), abs=1e-9)


def test_large_common_offsets_cost_no_accuracy():
    moved = X + 1e6
    assert squared_distances(moved) == pytest.approx(squared_distances(X), rel=1e-6, abs=1e-8)


def test_published_distances_are_those_between_float32_centroids():
    x = X.astype(np.float32)
    values = published(x, KIND)
    centre = [x[kind == KIND].mean(axis=0) for kind in (SAFE, HARMFUL, BOUNDARY)]
    assert values.separation == pytest.approx(np.linalg.norm(centre[0] - centre[1]))
    assert values.bound_safe == pytest.approx(np.linalg.norm(centre[2] - centre[0]))
    assert values.ratio == pytest.approx(values.bound_safe / np.linalg.norm(centre[2] - centre[1]))


def test_published_ratio_is_left_out_where_the_reference_calls_it_infinite():
    x = np.zeros((3, 2), dtype=np.float32)
    x[0] = 1
    assert published(x, np.array([SAFE, HARMFUL, BOUNDARY])).ratio is None


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(28, (9, 18)), (30, (10, 20)), (32, (10, 21)), (40, (13, 26)), (48, (16, 32)), (62, (20, 41)), (80, (26, 53))],
)
def test_published_layers_follow_the_reference(layers, expected):
    assert indices(layers) == expected
