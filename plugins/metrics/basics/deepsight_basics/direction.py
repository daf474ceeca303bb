"""Which way is good, for metrics where it depends on what is counted."""

from __future__ import annotations

from typing import ClassVar, Literal

from deepsight_core import Metric

Direction = Literal["higher", "lower", "neither"]


class _Chosen:
    """The direction that a metric was given; "neither" for the class itself, which was given none."""

    def __get__(self, metric: Directed | None, owner: type[Directed]) -> Direction:
        return "neither" if metric is None else metric.direction


class Directed(Metric):
    """A metric whose user says which way is good."""

    # a field named `better` would shadow the class variable that every other metric sets
    better: ClassVar[Direction] = _Chosen()  # type: ignore[assignment]  # a descriptor, read as a Direction
    direction: Direction = "neither"
    """Which way is good: it cannot follow from the metric's definition."""
