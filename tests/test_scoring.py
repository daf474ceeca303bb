"""Measurements and paired comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from deepsight_core import Judgement, Metric, Output, Record, Sample, user
from deepsight_core.errors import RunMismatch
from deepsight_core.scoring import Scoreboard, compare
from deepsight_core.statistics import (
    auroc,
    cluster_means,
    holm,
    mcnemar,
    percentile_interval,
    permutation_p,
    sign_flip,
    smallest_difference,
    wilson,
)


class Score(Metric):
    """The judge's score."""

    name = "score"
    better = "higher"

    def per_record(self, record: Record) -> float | None:
        return record.judgements[0].score


class Unbounded(Score):
    name = "unbounded"
    bounds = None


class Ratio(Score):
    """Not a mean: the largest score."""

    name = "largest"

    def compute(self, records: Sequence[Record]) -> float | None:
        return max((record.judgements[0].score or 0.0 for record in records), default=None)


def records(scores: Sequence[float | None], groups: Sequence[str] | None = None) -> list[Record]:
    return [
        Record(
            dataset="d",
            sample=Sample(
                id=f"s{n}", messages=(user("x"),), group=groups[n] if groups else None, labels={"even": n % 2 == 0}
            ),
            output=Output(text="x"),
            judgements=(Judgement(judge="j", score=score, status="unparsed" if score is None else "scored"),),
        )
        for n, score in enumerate(scores)
    ]


def board(metric: Metric, rows: list[Record], breakdown: Sequence[str] = ()) -> Scoreboard:
    scoreboard = Scoreboard("d", [metric], breakdown)
    for record in rows:
        scoreboard.add(record)
    return scoreboard


def test_a_proportion_of_independent_records_has_a_wilson_interval() -> None:
    (m,) = board(Score(), records([1.0] * 8 + [0.0] * 2)).measurements()
    assert (m.value, m.method) == (0.8, "wilson")
    assert (m.low, m.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_wilson_agrees_with_published_values() -> None:
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))  # Newcombe 1998, method 3
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


def test_records_of_one_cluster_are_resampled_together() -> None:
    scores = [1.0, 1.0, 0.0, 0.0] * 10
    pairs = [f"g{n // 2}" for n in range(40)]
    (clustered,) = board(Score(), records(scores, pairs)).measurements()
    (single,) = board(Score(), records(scores)).measurements()
    assert clustered.method == "cluster bootstrap" and clustered.clusters == 20
    assert clustered.high is not None and clustered.low is not None and single.high is not None
    assert clustered.high - clustered.low > 1.2 * (single.high - (single.low or 0))


def test_outcomes_that_are_all_equal_do_not_claim_certainty() -> None:
    (m,) = board(Score(), records([0.0] * 20, [f"g{n // 2}" for n in range(20)])).measurements()
    assert (m.value, m.low, m.high) == (0.0, 0.0, pytest.approx(0.2775, abs=1e-4)), "as 0 of 10 clusters"


def test_unscored_records_widen_worst_and_best_but_not_the_value() -> None:
    (m,) = board(Score(), records([1.0, 1.0, 0.0, None, None])).measurements()
    assert (m.value, m.count, m.unscored) == (pytest.approx(2 / 3), 3, 2)
    assert (m.worst, m.best) == (pytest.approx(0.4), pytest.approx(0.8))


def test_worst_and_best_follow_the_direction() -> None:
    class Lower(Score):
        better = "lower"

    (m,) = board(Lower(), records([1.0, 0.0, None])).measurements()
    assert m.worst == pytest.approx(2 / 3) and m.best == pytest.approx(1 / 3)
    (unbounded,) = board(Unbounded(), records([1.0, 0.0, None])).measurements()
    assert unbounded.worst is None and unbounded.best is None


def test_an_empty_denominator_gives_nothing_rather_than_zero() -> None:
    (m,) = board(Score(), records([None, None])).measurements()
    assert (m.value, m.low, m.count, m.unscored) == (None, None, 0, 2)


def test_groups_follow_the_whole_in_order() -> None:
    found = board(Score(), records([1.0, 0.0, 1.0, 0.0]), ["even", "absent"]).measurements()
    assert [(m.group, m.value) for m in found] == [("all", 0.5), ("even=false", 0.0), ("even=true", 1.0)]


def test_a_metric_that_is_no_mean_is_bootstrapped_over_clusters() -> None:
    (m,) = board(Ratio(), records([0.1, 0.5, 0.9, None])).measurements()
    assert (m.value, m.count, m.unscored, m.method) == (0.9, 3, 1, "cluster bootstrap")
    assert m.low is not None and 0.1 <= m.low <= 0.9 and m.high == 0.9


def test_the_cluster_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        effect = np.repeat(rng.normal(size=30), 3)
        values = effect + rng.normal(size=90)
        low, high = np.quantile(cluster_means(values, np.repeat(np.arange(30), 3), 400, trial), [0.025, 0.975])
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_two_runs_are_compared_on_the_samples_that_both_scored() -> None:
    a = records([1.0] * 10 + [0.0] * 10 + [None])
    b = records([1.0] * 2 + [0.0] * 18 + [1.0])
    result = compare("d", Score(), a, b)
    assert (result.a, result.b, result.difference) == (0.5, 0.1, pytest.approx(-0.4))
    assert (result.count, result.left_out, result.method) == (20, 1, "mcnemar")
    assert result.p == pytest.approx(2 * 0.5**8)
    assert result.high is not None and result.high < 0


def test_runs_that_share_nothing_are_not_compared() -> None:
    with pytest.raises(RunMismatch, match="share no scored sample"):
        compare("d", Score(), records([1.0]), records([None]))


def test_clustered_outcomes_are_compared_by_flipping_the_signs_of_clusters() -> None:
    groups = [f"g{n // 2}" for n in range(20)]
    result = compare("d", Score(), records([0.0] * 20, groups), records([1.0] * 16 + [0.0] * 4, groups))
    assert result.method == "sign flips" and result.p == pytest.approx(2 / 2**8)


def test_a_single_cluster_proves_nothing() -> None:
    together = ["g"] * 10
    result = compare("d", Score(), records([0.0] * 10, together), records([1.0] * 10, together))
    assert (result.difference, result.p, result.low, result.high) == (1.0, 1.0, None, None)
    (m,) = board(Unbounded(), records([3.0] * 10)).measurements()
    assert (m.value, m.low, m.high, m.method) == (3.0, None, None, "none")


def test_runs_are_compared_by_metrics_that_are_no_means_as_well() -> None:
    rng = np.random.default_rng(0)
    a, b = (records(list(rng.random(40) * scale)) for scale in (1.0, 2.0))
    result = compare("d", Ratio(), a, b)
    assert result.method == "paired bootstrap" and result.p is None
    assert result.low is not None and 0 < result.low <= (result.difference or 0) <= (result.high or 0)


def test_samples_that_neither_run_scored_are_counted_as_left_out() -> None:
    assert compare("d", Score(), records([1.0, None]), records([0.0, None])).left_out == 1


def test_a_metric_that_raises_is_named_and_the_others_are_measured() -> None:
    class Broken(Score):
        name = "broken"

        def per_record(self, record: Record) -> float | None:
            raise KeyError("absent")

    scoreboard = Scoreboard("d", [Broken(), Score()])
    for record in records([1.0, 0.0]):
        scoreboard.add(record)
    assert [m.metric for m in scoreboard.measurements()] == ["score"]
    assert "metric 'broken' failed on record 's0'" in scoreboard.failures[0]


def test_a_value_that_is_not_a_number_is_unscored() -> None:
    class Wild(Score):
        def per_record(self, record: Record) -> float | None:
            return float("nan")

    (m,) = board(Wild(), records([1.0, 0.0])).measurements()
    assert (m.value, m.count, m.unscored) == (None, 0, 2)


def test_sign_flips_agree_with_all_patterns_and_are_fast_for_many_clusters() -> None:
    assert sign_flip([1.0, 1.0, 1.0, -1.0], [0, 1, 2, 3]) == pytest.approx(10 / 16)
    assert sign_flip(np.r_[np.ones(60), -np.ones(40)], np.arange(100)) == pytest.approx(mcnemar(60, 40), abs=0.02)


def test_mcnemar_is_exact_and_symmetric() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(6, 6) == 1.0


def test_auroc_counts_ties_half_and_is_nan_without_both_classes() -> None:
    assert auroc([1, 2, 3, 4], [0, 0, 1, 1]) == 1.0
    assert auroc([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5
    assert auroc([2, 1, 3, 2], [1, 0, 1, 0]) == pytest.approx(0.875)
    assert np.isnan(auroc([1, 2], [1, 1]))


def test_permutation_p_is_never_zero_and_can_be_two_sided() -> None:
    null = np.arange(99) / 99
    assert permutation_p(2.0, null) == pytest.approx(0.01)
    assert permutation_p(-2.0, null) == 1.0
    assert permutation_p(-2.0, null, two_sided=True) == pytest.approx(0.01)


def test_holm_is_monotone_and_keeps_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_draws_without_a_value_are_left_out_of_an_interval() -> None:
    assert percentile_interval([float("nan"), 1.0, 1.0, float("nan")]) == (1.0, 1.0)


def test_the_smallest_difference_is_found_with_the_power_that_it_promises() -> None:
    count, discordant = 450, 0.2
    difference = smallest_difference(discordant, count)
    assert difference is not None
    shares = [(discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant]
    a, b, _ = np.random.default_rng(0).multinomial(count, shares, size=20_000).T
    found = np.abs(a - b) / np.sqrt(a + b) > 1.96  # McNemar's test without correction
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_no_difference_is_small_enough_to_be_found_where_too_little_changes() -> None:
    assert smallest_difference(0.0, 50) is None
    assert smallest_difference(0.01, 50) is None


def test_only_independent_outcomes_of_0_and_1_have_a_smallest_difference() -> None:
    values = [1.0, 0.0] * 100
    changed = [1.0 - value if place < 60 else value for place, value in enumerate(values)]
    together = ["ab"[place % 2] for place in range(200)]
    assert compare("d", Score(), records(values), records(changed)).detectable == smallest_difference(0.3, 200)
    assert compare("d", Score(), records(values, together), records(changed, together)).detectable is None
