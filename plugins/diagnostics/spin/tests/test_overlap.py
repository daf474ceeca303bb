"""Overlap: counts, chance, jackknife and exchange against their definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from deepsight_spin.masking import changes
from deepsight_spin.overlap import Overlap, Scores, exchanged, jackknife, partitions, student, top
from deepsight_spin.units import kind

from deepsight_core.evidence import Repeat
from deepsight_core.protocol import Judgement, Output, Record, Sample, user
from deepsight_core.weights import Importance, Matrix


def scores(seed: int = 0, blocks: int = 3, size: int = 60) -> Scores:
    rng = np.random.default_rng(seed)
    matrices = tuple(Matrix(f"model.layers.{n}.mlp.up.weight", n, "mlp", (6, size // 6)) for n in range(2))
    made = tuple(np.exp(rng.standard_normal((2, blocks, size))).astype(np.float32) for _ in matrices)
    every = tuple(np.arange(size) for _ in matrices)
    return Scores(Importance(("first", "second"), {"first": 9, "second": 9}, matrices, every, made, 1.0))


def by_hand(made: Scores, one: list[int], other: list[int], count: int) -> list[int]:
    coupled = []
    for block in made.importance.scores:
        pooled = np.concatenate([block[0], block[1]])
        first, second = (set(np.argsort(-pooled[rows].sum(axis=0))[:count]) for rows in (one, other))
        coupled.append(len(first & second))
    return coupled


def test_the_top_holds_nothing_that_scores_nothing():
    assert top(np.array([0.0, 3.0, 1.0, 0.0, 2.0]), 2).tolist() == [False, True, False, False, True]
    assert top(np.array([0.0, 3.0, 0.0]), 2).sum() == 1
    assert not top(np.array([1.0, 2.0]), 0).any()
    assert top(np.array([1.0, 2.0]), 5).all()


def test_chance_is_the_mean_of_blind_draws():
    overlap = Overlap(*(np.array([n]) for n in (12, 9, 4, 60)))
    rng = np.random.default_rng(0)
    drawn = [len(set(rng.choice(60, 12, False)) & set(rng.choice(60, 9, False))) for _ in range(4000)]
    assert overlap.expected[0] == pytest.approx(np.mean(drawn), abs=0.06)
    assert overlap.lift == pytest.approx(4 / (12 * 9 / 60)) and overlap.coefficient == 4 / 9


def test_every_exchange_is_dealt_once_and_equals_its_definition():
    made = scores()
    dealt = [overlap.coupled.tolist() for overlap in exchanged(made, "first", "second", 0.2, 50, seed=0)]
    halves = [list(half) for half in combinations(range(6), 3) if 0 in half and half != (0, 1, 2)]
    expected = [by_hand(made, half, [n for n in range(6) if n not in half], 12) for half in halves]
    assert len(dealt) == partitions(3) - 1 == 9
    assert sorted(dealt) == sorted(expected)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    without = [float(np.delete(values, n).mean()) for n in range(5)]
    low, high = jackknife(float(values.mean()), [without])
    assert (high - low) / 2 == pytest.approx(student(4) * values.std(ddof=1) / np.sqrt(5))
    assert jackknife(1.0, [[1.0, 2.0]]) is None


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)])
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, rel=0.01)


def test_matrices_are_called_by_their_place_in_the_block():
    assert kind(Matrix("model.layers.1.mlp.experts.1.up_proj.weight", 1, "mlp", (2, 2))) == "mlp.experts.1.up_proj"
    assert kind(Matrix("transformer.h.11.mlp.c_fc.weight", 11, "mlp", (2, 2))) == "mlp.c_fc"


def test_samples_that_were_not_scored_both_times_are_left_out_and_counted():
    def record(number: int, label: str | None) -> Record:
        verdict = Judgement(judge="j", label=label, status="scored" if label else "unparsed")
        sample = Sample(id=f"s{number}", messages=(user("x"),), group=f"g{number // 2}")
        return Record(dataset="d", sample=sample, output=Output(text="y"), judgements=(verdict,))

    before = tuple(record(n, "a") for n in range(6))
    after = tuple(record(n, "b" if n < 3 else "a" if n < 5 else None) for n in range(6))
    found = {finding.name: finding for finding in changes(Repeat(before, after), None, "3 weights", "intervention")}
    assert found["change of a"].value == -0.6 and found["change of a"].count == 5
    assert "1 samples were not scored both times" in found["change of a"].summary
