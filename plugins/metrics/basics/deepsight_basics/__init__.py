"""The metrics that most benchmarks share: rates of a verdict, agreement with a reference, detection scores."""

from __future__ import annotations

from deepsight_basics.detection import F1, Precision, Recall
from deepsight_basics.rates import OverRefusalRate, Rate, RefusalRate
from deepsight_basics.scores import Accuracy, MeanScore
from deepsight_core import Metric, hookimpl

__all__ = ["F1", "Accuracy", "MeanScore", "OverRefusalRate", "Precision", "Rate", "Recall", "RefusalRate"]


@hookimpl
def deepsight_metrics() -> list[type[Metric]]:
    return [RefusalRate, OverRefusalRate, Rate, Accuracy, MeanScore, Precision, Recall, F1]
