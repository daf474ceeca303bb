"""The published quantities equal plain float64 loops, and their known identities hold."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_tellme.published import block, coding_rates, mean_l1, published
from deepsight_tellme.spectra import effective_rank, log_volume

RNG = np.random.default_rng(3)


def rows(count: int, width: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(count) % classes
    return RNG.normal(size=(count, width)) + y[:, None], y


def oracle(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The rules as they are written, with width x width matrices and loops over pairs."""
    order = np.argsort(y, kind="stable")
    x, y = x[order].astype(np.float64), y[order]
    n, d = x.shape
    z = x / np.maximum(np.sqrt((x**2).sum(0)), 1e-12)
    found = {"r_diff": 0.5 * np.log(np.linalg.det(np.eye(d) + d / (n * 0.1) * z.T @ z)), "r_same": 0.0}
    for label in np.unique(y):
        own = z[y == label]
        volume = np.linalg.det(np.eye(d) + d / (len(own) * 0.1) * own.T @ own)
        found["r_same"] += len(own) / (2 * n) * np.log(volume)
    c = x - x.mean(0)
    c /= np.sqrt((c**2).sum(1, keepdims=True))
    values = np.linalg.svd(c.T @ c / n, compute_uv=False)
    p = values[values > 1e-300] / values.sum()
    found["erank"] = float(np.exp(-sum(q * np.log(q) for q in p)))
    k = len(np.unique(y))
    s = n // k
    parts = []
    for i in range(k):
        for j in range(i + 1, k):
            a, b = x[i * s : (i + 1) * s], x[j * s : (j + 1) * s]
            cosine = np.mean([u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in zip(a, b, strict=True)])
            u, v = a - a.mean(), b - b.mean()
            u, v = u / np.sqrt((u**2).sum(0)), v / np.sqrt((v**2).sum(0))
            l2 = np.array([[np.linalg.norm(m - o) for o in b] for m in a])
            l1 = np.array([[np.abs(m - o).sum() for o in b] for m in a])
            parts.append([cosine, (u * v).mean(), l2.mean(), l1.mean(), max(l2.min(1).max(), l2.min(0).max())])
    cosine, found["pcc"], found["l2"], found["l1"], found["hausdorff"] = np.mean(parts, axis=0)
    found["cos_sim"] = float(np.degrees(np.arccos(cosine)))
    return found


@pytest.mark.parametrize(("count", "width", "classes"), [(24, 6, 2), (12, 30, 2), (25, 7, 3), (30, 30, 6)])
def test_every_quantity_equals_the_rule_as_it_is_written(count: int, width: int, classes: int) -> None:
    x, y = rows(count, width, classes)
    values = published(x.astype(np.float32), y)
    for name, expected in oracle(x.astype(np.float32), y).items():
        assert getattr(values, name) == pytest.approx(expected, rel=1e-6), name


def test_blocks_of_unbalanced_classes_mix_them_as_published() -> None:
    x, y = rows(32, 5)
    y = np.array([0] * 24 + [1] * 8)
    order = np.argsort(y, kind="stable")
    moved = x.copy()
    moved[order[16:24]] += 100  # unsafe rows, in the block that is taken for the safe ones
    assert (published(moved, y).l2 or 0) > 10 * (published(x, y).l2 or 0)
    assert published(x, y).l2 == pytest.approx(oracle(x, y)["l2"])


def test_one_class_has_no_gap_and_no_distances() -> None:
    x, _ = rows(10, 4)
    values = published(x, np.zeros(10, dtype=int))
    assert values.r_gap == pytest.approx(0) and (values.l2, values.cos_sim, values.hausdorff) == (None,) * 3


def test_both_gram_matrices_give_the_same_volume() -> None:
    x, _ = rows(10, 25)
    wide, tall = log_volume(x, 0.7), log_volume(x.T, 0.7)
    assert wide == pytest.approx(tall) == pytest.approx(np.log(np.linalg.det(np.eye(25) + 0.7 * x.T @ x)))


def test_rates_do_not_change_when_columns_are_scaled_but_do_when_rows_are_rotated() -> None:
    x, y = rows(20, 8)
    rotation = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    assert coding_rates(x * RNG.uniform(0.1, 10, 8), y) == pytest.approx(coding_rates(x, y))
    assert coding_rates(x @ rotation, y)[0] != pytest.approx(coding_rates(x, y)[0], rel=1e-6)


def test_effective_rank_is_bounded_and_blind_to_rotation() -> None:
    x, _ = rows(12, 40)
    rotation = np.linalg.qr(RNG.normal(size=(40, 40)))[0]
    rank = effective_rank(x)
    assert rank is not None and 1 <= rank <= 11
    assert effective_rank(x @ rotation) == pytest.approx(rank)


def test_a_row_that_is_the_mean_has_no_direction_and_gives_no_rank() -> None:
    assert effective_rank(np.array([[1.0, 0], [-1, 0], [0, 0]])) is None


def test_the_gap_of_noise_grows_with_the_width_and_hardly_notices_shuffled_classes() -> None:
    gaps = []
    for width in (64, 256):
        x = RNG.normal(size=(100, width))
        gaps.append((published(x, np.arange(100) % 2).r_gap, published(x, RNG.permutation(np.arange(100) % 2)).r_gap))
    assert gaps[1][0] > 1.5 * gaps[0][0]
    assert gaps[1][1] == pytest.approx(gaps[1][0], rel=0.05)


def test_the_sorted_city_block_distance_equals_the_loop_with_ties() -> None:
    x, y = RNG.integers(0, 3, size=(9, 4)).astype(float), RNG.integers(0, 3, size=(5, 4)).astype(float)
    assert mean_l1(x, y) == pytest.approx(np.mean([[np.abs(a - b).sum() for b in y] for a in x]))


@pytest.mark.parametrize(
    ("layers", "expected"), [(28, 17), (30, 18), (32, 20), (40, 25), (48, 30), (62, 40), (80, 52), (1, 0)]
)
def test_the_published_block_is_found(layers: int, expected: int) -> None:
    assert block(layers) == expected
