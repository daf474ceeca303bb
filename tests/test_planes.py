"""Two coordinates for a figure: they mean the same in every model, and show no gap where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from deepsight_core.figures import Scatter
from deepsight_core.planes import plane

ENDS = ("safe", "harmful")


def drawn(
    x: np.ndarray, cohorts: list[str], clusters: ArrayLike | None = None, ids: list[str] | None = None
) -> Scatter | None:
    return plane(
        x,
        ids or [f"s{row:04}" for row in range(len(x))],
        cohorts,
        np.arange(len(x)) if clusters is None else clusters,
        ENDS,
        name="plane",
        where="Layer 3, last token",
    )


def cloud(shift: float = 0.0, each: int = 40, width: int = 30, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Two cohorts of standard normal rows, `shift` apart along one direction, with a large variance along another."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * each, width))
    x[:, 1] *= 6
    x[each:, 0] += shift
    return x, ["safe"] * each + ["harmful"] * each


def places(figure: Scatter | None, cohort: str = "") -> np.ndarray:
    assert figure is not None
    return np.array([(dot.x, dot.y) for dot in figure.dots if cohort in ("", dot.group)])


def test_the_centres_lie_as_many_spreads_apart_as_the_means_do() -> None:
    figure = drawn(*cloud(shift=20, each=200))
    spread = np.sqrt(29 + 36)
    safe, harmful = places(figure, "safe"), places(figure, "harmful")
    assert harmful[:, 0].mean() - safe[:, 0].mean() == pytest.approx(20 / spread, rel=0.05)
    assert harmful[:, 0].mean() + safe[:, 0].mean() == pytest.approx(0, abs=0.02)


def test_upwards_is_the_direction_in_which_the_rest_varies_most() -> None:
    x, cohorts = cloud(shift=20, each=200)
    up = places(drawn(x, cohorts))[:, 1]
    assert abs(np.corrcoef(up, x[:, 1])[0, 1]) > 0.99
    assert up.std() == pytest.approx(6 / np.sqrt(29 + 36), rel=0.1)


@pytest.mark.parametrize("sizes", [(20, 20), (6, 60)])
def test_where_there_is_no_gap_none_is_seen(sizes: tuple[int, int]) -> None:
    cohorts = ["safe"] * sizes[0] + ["harmful"] * sizes[1]
    gaps, overstated = [], []
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((sum(sizes), 200))
        figure = drawn(x, cohorts)
        gaps.append(places(figure, "harmful")[:, 0].mean() - places(figure, "safe")[:, 0].mean())
        means = x[sizes[0] :].mean(axis=0) - x[: sizes[0]].mean(axis=0)
        overstated.append(np.linalg.norm(means) / np.sqrt(200))
    assert np.mean(gaps) == pytest.approx(0, abs=0.02)
    assert np.mean(overstated) > 0.25, "what the means of the same samples would have shown"


def test_a_sample_does_not_help_to_define_its_own_place() -> None:
    x, cohorts = cloud(shift=2)
    twins = np.r_[np.arange(40), np.arange(40)]
    figure = drawn(x, cohorts, twins)
    assert figure is not None
    kept = twins != 3
    harmful = np.array(cohorts) == "harmful"
    centred = x - x.mean(axis=0)
    means = [centred[kept & side].mean(axis=0) for side in (~harmful, harmful)]
    bias = [centred[side].var(axis=0, ddof=1).sum() / 39 for side in (~harmful, harmful)]
    axis = means[1] - means[0]
    middle = (means[1] @ means[1] - bias[1] - means[0] @ means[0] + bias[0]) / 2
    spread = np.sqrt(39 * (bias[0] + bias[1]) / 2)
    assert figure.dots[3].x == pytest.approx((centred[3] @ axis - middle) / np.linalg.norm(axis) / spread)


def test_neither_scale_nor_shift_nor_rotation_of_the_activations_moves_a_dot() -> None:
    x, cohorts = cloud(shift=3)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((30, 30)))[0]
    assert places(drawn(1000 * x @ rotation + 5, cohorts)) == pytest.approx(places(drawn(x, cohorts)), abs=1e-8)


def test_the_order_of_the_samples_changes_nothing() -> None:
    x, cohorts = cloud(shift=3)
    order = np.random.default_rng(2).permutation(len(x))
    mixed = drawn(x[order], [cohorts[row] for row in order], order, [f"s{row:04}" for row in order])
    straight = drawn(x, cohorts)
    assert mixed is not None and straight is not None
    assert [dot.id for dot in mixed.dots] == [dot.id for dot in straight.dots]
    assert places(mixed) == pytest.approx(places(straight), abs=1e-9)


def test_a_third_cohort_is_placed_and_moves_nothing_sideways() -> None:
    x, cohorts = cloud(shift=20)
    between = np.random.default_rng(3).standard_normal((9, 30))
    between[:, 0] += 10
    three = drawn(np.r_[x, between], [*cohorts, *["boundary"] * 9])
    assert places(three, "boundary")[:, 0].mean() == pytest.approx(0, abs=0.1)
    assert places(three, "harmful")[:, 0] == pytest.approx(places(drawn(x, cohorts), "harmful")[:, 0])


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_one_cohort_is_shown_by_its_principal_components(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(4).standard_normal(shape) * np.r_[9, 5, np.ones(shape[1] - 2)]
    figure = drawn(x, ["safe"] * len(x))
    assert figure is not None
    assert figure.x.startswith("first principal component")
    centred = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    expected = np.abs(u[:, :2] * s[:2]) / np.sqrt(centred.var(axis=0, ddof=1).sum())
    assert np.abs(places(figure)) == pytest.approx(expected, abs=1e-8)


def test_an_end_of_one_cluster_defines_no_direction() -> None:
    x, cohorts = cloud(shift=3, each=4)
    figure = drawn(x, cohorts, [0, 1, 2, 3, 4, 4, 4, 4])
    assert figure is not None and figure.x.startswith("first principal component")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_samples_make_no_plane(count: int) -> None:
    assert drawn(np.eye(5)[:count], ["safe"] * count) is None


@pytest.mark.parametrize("cohorts", [["safe"] * 7, ["safe", "harmful"] * 3])
def test_samples_that_are_all_the_same_make_no_plane(cohorts: list[str]) -> None:
    assert drawn(np.full((len(cohorts), 5), 0.3), cohorts) is None


def test_of_many_samples_two_thousand_are_drawn_and_the_caption_says_so() -> None:
    x, cohorts = cloud(shift=3, each=1100, width=4)
    figure = drawn(x, cohorts)
    assert figure is not None and len(figure.dots) == 2000
    assert "2000 of 2200 samples" in figure.caption and "Layer 3, last token." in figure.caption
