"""From records to measurements: groups, unscored counts, intervals, worst and best cases, and paired comparison."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deepsight_core.components import Metric
from deepsight_core.errors import RunMismatch
from deepsight_core.protocol import Measurement, Record, Value, short_hash
from deepsight_core.statistics import (
    Floats,
    Interval,
    bootstrap,
    cluster_means,
    mcnemar,
    percentile_interval,
    wilson,
)

ALL = "all"
Method = Literal["wilson", "cluster bootstrap", "none"]
Estimate = tuple[float | None, Interval | None, Method]


@dataclass
class Column:
    """What one metric says of one group of records: 16 bytes a record, so that any number of them can be scored."""

    values: array[float] = field(default_factory=lambda: array("d"))
    clusters: array[int] = field(default_factory=lambda: array("Q"))
    unscored: int = 0
    kept: list[Record] = field(default_factory=list)
    """Scored records, for metrics that are not means."""

    def add(self, metric: Metric, record: Record) -> None:
        value = metric.per_record(record)
        if value is None:
            self.unscored += 1
            return
        self.values.append(value)
        self.clusters.append(short_hash(record.sample.cluster))
        if not metric.is_mean():
            self.kept.append(record)


class Scoreboard:
    """Scores the records of one data set as they stream by."""

    def __init__(
        self,
        dataset: str,
        metrics: Sequence[Metric],
        breakdown: Sequence[str] = (),
        seed: int = 0,
        judge: str | None = None,
    ) -> None:
        self.dataset, self.metrics, self.breakdown, self.seed = dataset, metrics, breakdown, seed
        self.judge = judge
        """The data set's first judge, whose verdict counts where a metric names none."""
        self._columns: dict[tuple[int, str], Column] = {}

    def add(self, record: Record) -> None:
        labels = record.sample.labels
        groups = [ALL, *(f"{name}={_plain(labels[name])}" for name in self.breakdown if name in labels)]
        for number, metric in enumerate(self.metrics):
            if metric.covers(record):
                for group in groups:
                    self._columns.setdefault((number, group), Column()).add(metric, record)

    def measurements(self) -> tuple[Measurement, ...]:
        """Metric by metric, the whole first, then its groups in order of their names."""
        found: list[Measurement] = []
        for number, metric in enumerate(self.metrics):
            groups = sorted(group for n, group in self._columns if n == number and group != ALL)
            for group in [ALL, *groups]:
                column = self._columns.get((number, group), Column())
                measured = measure(metric, column, self.dataset, group, self.seed)
                found.append(measured.model_copy(update={"judge": metric.judge or self.judge}))
        return tuple(found)


def measure(metric: Metric, column: Column, dataset: str, group: str = ALL, seed: int = 0) -> Measurement:
    """One metric over one group. Proportions of independent records get a Wilson interval, as do those of 0 and 1
    (over clusters); everything else gets a bootstrap over clusters."""
    value, interval, method = _estimate(metric, column, seed)
    worst, best = _extremes(metric, column)
    return Measurement(
        dataset=dataset,
        metric=metric.title,
        value=value,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        method=method,
        count=len(column.values),
        clusters=len(set(column.clusters)),
        unscored=column.unscored,
        worst=worst,
        best=best,
        group=group,
        better=metric.better,
        judge=metric.judge,
        unit=metric.unit,
    )


def _estimate(metric: Metric, column: Column, seed: int) -> Estimate:
    if not column.values:
        return None, None, "none"
    if not metric.is_mean():
        return _computed(metric, column, seed)
    values = np.asarray(column.values)
    mean = float(values.mean())
    clusters = len(set(column.clusters))
    proportion = metric.bounds == (0.0, 1.0) and bool(np.isin(values, (0.0, 1.0)).all())
    if proportion and (clusters == len(values) or mean in (0.0, 1.0)):
        # When all outcomes are equal a bootstrap would claim certainty; the clusters are what was drawn independently.
        return mean, wilson(mean * clusters, clusters), "wilson"
    if clusters < 2:
        return mean, None, "none"
    return mean, percentile_interval(cluster_means(values, column.clusters, seed=seed)), "cluster bootstrap"


def _computed(metric: Metric, column: Column, seed: int) -> Estimate:
    value = metric.compute(column.kept)
    if value is None or len(set(column.clusters)) < 2:
        return value, None, "none"

    def redo(rows: Iterable[int]) -> float:
        result = metric.compute([column.kept[row] for row in rows])
        return float("nan") if result is None else result

    return value, bootstrap(redo, column.clusters, seed=seed), "cluster bootstrap"


def _extremes(metric: Metric, column: Column) -> tuple[float | None, float | None]:
    """The mean if every unscored record had gone the bad, or the good, way."""
    total = len(column.values) + column.unscored
    if metric.bounds is None or metric.better == "neither" or not total or not metric.is_mean():
        return None, None
    low, high = ((sum(column.values) + column.unscored * bound) / total for bound in metric.bounds)
    return (low, high) if metric.better == "higher" else (high, low)


# --- Two runs on the same samples ---------------------------------------------------------------


class Comparison(Value):
    """How a metric differs between two runs, over the samples that both scored."""

    dataset: str
    metric: str
    a: float | None
    b: float | None
    difference: float | None
    """b - a."""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method: str = "none"
    count: int = 0
    """Samples scored in both runs."""
    left_out: int = 0
    """Samples of either run that were not scored in both."""


def compare(dataset: str, metric: Metric, a: Iterable[Record], b: Iterable[Record], seed: int = 0) -> Comparison:
    """Paired comparison by sample id and epoch.

    p is exact McNemar's for outcomes of 0 and 1 of independent samples, else the two-sided p of a paired bootstrap over
    clusters, which also gives the interval of the difference. Raises RunMismatch when the runs share no sample.
    """
    left, right = _scored(metric, a), _scored(metric, b)
    shared = [key for key in left if key in right]
    if not shared:
        raise RunMismatch(f"the runs share no scored sample of {dataset!r} under {metric.title!r}")
    x = np.array([left[key][0] for key in shared])
    y = np.array([right[key][0] for key in shared])
    clusters = [left[key][1] for key in shared]
    draws = cluster_means(y - x, clusters, seed=seed)
    low, high = percentile_interval(draws)
    p, method = _paired_p(x, y, clusters, draws)
    return Comparison(
        dataset=dataset,
        metric=metric.title,
        a=float(x.mean()),
        b=float(y.mean()),
        difference=float((y - x).mean()),
        low=low,
        high=high,
        p=p,
        method=method,
        count=len(shared),
        left_out=len(left.keys() | right.keys()) - len(shared),
    )


def _scored(metric: Metric, records: Iterable[Record]) -> Mapping[tuple[str, int], tuple[float, str]]:
    found: dict[tuple[str, int], tuple[float, str]] = {}
    for record in records:
        if metric.covers(record) and (value := metric.per_record(record)) is not None:
            found[record.id, record.epoch] = value, record.sample.cluster
    return found


def _paired_p(x: Floats, y: Floats, clusters: Sequence[str], draws: Floats) -> tuple[float, str]:
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    if binary and len(set(clusters)) == len(clusters):
        return mcnemar(int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum())), "mcnemar"
    tail = (1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))) / (1 + draws.size)
    return min(1.0, 2 * tail), "paired bootstrap"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
