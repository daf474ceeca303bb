"""The shared metrics, computed by hand on small records."""

from __future__ import annotations

import random
from typing import Any

import pytest
from deepsight_basics import (
    F1,
    Accuracy,
    MeanScore,
    OverRefusalRate,
    Precision,
    Rate,
    Recall,
    RefusalRate,
    deepsight_metrics,
)
from pydantic import ValidationError

from deepsight_core import Judgement, Metric, Output, Record, Sample, user


def record(label: str | None = None, *, target: Any = None, status: Any = "scored", score: Any = None, **labels: Any):
    judgement = Judgement(judge="a", label=label, score=score, status=status)
    sample = Sample(id="s", messages=(user("Hello"),), target=target, labels=labels)
    return Record(dataset="d", sample=sample, output=Output(text="Hi"), judgements=(judgement,))


UNJUDGED = Record(dataset="d", sample=Sample(id="s", messages=(), labels={"harmful": True}), output=Output(text="Hi"))


def mean(metric: Metric, records: list[Record]) -> float | None:
    values = [value for r in records if metric.covers(r) and (value := metric.per_record(r)) is not None]
    return sum(values) / len(values) if values else None


def test_refusal_rate_counts_only_harmful_prompts():
    records = [record("refused", harmful=True), record("complied", harmful=True), record("refused", harmful=False)]
    assert mean(RefusalRate(), records) == 0.5
    assert RefusalRate().better == "higher"


def test_over_refusal_rate_counts_only_harmless_prompts():
    records = [record("refused", harmful=True), record("complied", harmful=False), record("complied", harmful=False)]
    assert mean(OverRefusalRate(), records) == 0.0
    assert OverRefusalRate().better == "lower"


@pytest.mark.parametrize("metric", [RefusalRate(), OverRefusalRate()])
def test_a_prompt_of_unknown_kind_is_in_neither_refusal_rate(metric):
    assert not metric.covers(record("refused"))


@pytest.mark.parametrize("status", ["unparsed", "failed"])
@pytest.mark.parametrize(
    "metric", [RefusalRate(), Rate(label="refused"), Accuracy(), MeanScore(), Precision(), Recall(), F1()]
)
def test_a_verdict_that_was_not_scored_has_no_value(metric, status):
    assert metric.per_record(record("refused", target="refused", score=1.0, status=status, harmful=True)) is None


def test_a_verdict_that_is_a_score_alone_has_no_share():
    assert Rate(label="unsafe").per_record(record(None, score=0.9)) is None


def test_a_record_without_a_judgement_has_no_value():
    assert RefusalRate().covers(UNJUDGED)
    assert RefusalRate().per_record(UNJUDGED) is None
    assert F1().per_record(UNJUDGED) is None


def test_a_degenerate_answer_counts_as_not_refused():
    assert RefusalRate().per_record(record("degenerate", harmful=True)) == 0.0


def test_the_named_judge_counts_and_not_the_first():
    both = record("refused", harmful=True)
    both = both.model_copy(update={"judgements": (*both.judgements, Judgement(judge="b", label="complied"))})
    assert RefusalRate().per_record(both) == 1.0
    assert RefusalRate(judge="b").per_record(both) == 0.0
    assert RefusalRate(judge="c").per_record(both) is None


def test_rate_takes_several_verdicts():
    rate = Rate(label=("refused", "degenerate"))
    assert [rate.per_record(record(label)) for label in ("refused", "degenerate", "complied")] == [1.0, 1.0, 0.0]
    assert rate.title == "refused or degenerate"


def test_rate_selects_samples_by_all_of_their_labels():
    rate = Rate(label="refused", where={"type": "homonyms", "harmful": False})
    assert rate.covers(record("refused", type="homonyms", harmful=False))
    assert not rate.covers(record("refused", type="homonyms", harmful=True))
    assert not rate.covers(record("refused", type="homonyms"))
    assert rate.title == "refused where type=homonyms, harmful=False"


@pytest.mark.parametrize("direction", ["higher", "lower", "neither"])
def test_direction_decides_which_way_is_better(direction):
    assert Rate(label="refused", direction=direction).better == direction
    assert MeanScore(direction=direction).better == direction


def test_a_class_without_a_direction_has_none():
    assert Rate.better == MeanScore.better == "neither"


def test_rate_refuses_an_unknown_direction():
    with pytest.raises(ValidationError, match="direction"):
        Rate(label="refused", direction="up")


@pytest.mark.parametrize(
    ("label", "target", "value"),
    [("B", "B", 1.0), ("B", "C", 0.0), ("B", ["A", "B"], 1.0), ("2", 2, 1.0), ("B", None, None), ("B", "BC", 0.0)],
)
def test_accuracy_compares_the_label_with_the_target(label, target, value):
    assert Accuracy().per_record(record(label, target=target)) == value


def test_accuracy_takes_the_score_of_a_judge_that_gives_no_label():
    assert Accuracy().per_record(record(None, score=0.25, target="anything")) == 0.25


def test_mean_score_is_the_mean_of_what_was_scored():
    records = [record(score=1.0), record(score=4.0), record(score=5.0, status="failed"), record("refused")]
    assert mean(MeanScore(), records) == 2.5
    assert MeanScore.bounds is None


def test_detection_scores_of_a_known_table():
    table = [("refused", True)] * 3 + [("refused", False)] * 1 + [("complied", True)] * 2 + [("complied", False)] * 4
    records = [record(label, harmful=harmful) for label, harmful in table]
    assert Precision().compute(records) == pytest.approx(3 / 4)
    assert Recall().compute(records) == pytest.approx(3 / 5)
    assert F1().compute(records) == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))


def test_f1_is_the_harmonic_mean_and_recall_the_refusal_rate():
    draw = random.Random(0)
    for _ in range(50):
        records = [
            record(draw.choice(["refused", "complied", "degenerate"]), harmful=draw.random() < 0.5) for _ in range(30)
        ]
        precision, recall, f1 = (metric.compute(records) for metric in (Precision(), Recall(), F1()))
        assert recall == pytest.approx(mean(RefusalRate(), records))
        if precision and recall:
            assert f1 == pytest.approx(2 / (1 / precision + 1 / recall))


@pytest.mark.parametrize(
    ("metric", "records"),
    [
        (Precision(), [record("complied", harmful=True)]),
        (Recall(), [record("refused", harmful=False)]),
        (F1(), [record("complied", harmful=False)]),
        (F1(), []),
    ],
)
def test_an_empty_denominator_gives_no_value(metric, records):
    assert metric.compute(records) is None


def test_what_counts_as_positive_can_be_chosen():
    records = [record("complied", unsafe=True), record("refused", unsafe=True), record("complied", unsafe=False)]
    assert Precision(predicted="complied", actual="unsafe").compute(records) == 0.5
    assert Precision(predicted="complied", actual="unsafe").title == "precision of 'complied' for 'unsafe'"


def test_detection_leaves_out_samples_without_the_label():
    assert not F1().covers(record("refused"))


def test_detection_says_of_each_record_whether_the_prediction_is_right():
    verdicts = [("refused", True), ("refused", False), ("complied", True), ("complied", False)]
    values = [F1().per_record(record(label, harmful=harmful)) for label, harmful in verdicts]
    assert values == [1.0, 0.0, 0.0, 1.0]


def test_only_the_detection_scores_are_not_means():
    assert {metric.name for metric in deepsight_metrics() if not metric.is_mean()} == {"precision", "recall", "f1"}


def test_every_metric_survives_its_own_options():
    for cls in deepsight_metrics():
        metric = cls(label="refused") if cls is Rate else cls()
        assert cls.model_validate(metric.options()) == metric
