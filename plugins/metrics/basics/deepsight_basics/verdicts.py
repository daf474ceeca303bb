"""What a metric may count: the verdict of its judge, if there is one and it was scored."""

from __future__ import annotations

from collections.abc import Container

from deepsight_core import Judgement, Metric, Record


def verdict(metric: Metric, record: Record) -> Judgement | None:
    """The scored verdict of the metric's judge (the record's first where it names none); None when unscored."""
    judgement = record.judgement(metric.judge)
    return judgement if judgement is not None and judgement.status == "scored" else None


def share(metric: Metric, record: Record, labels: Container[object]) -> float | None:
    """1.0 when the verdict is one of the labels, 0.0 when it is another, None when unscored or without a label."""
    judgement = verdict(metric, record)
    return None if judgement is None or judgement.label is None else float(judgement.label in labels)
