"""From records to measurements: groups, unscored counts, intervals, worst and best cases, and paired comparison."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import numpy as np

from deepsight_core.components import Metric
from deepsight_core.errors import RunMismatch
from deepsight_core.protocol import Measurement, Record, Value, short_hash
from deepsight_core.statistics import (
    Floats,
    Interval,
    cluster_means,
    mcnemar,
    percentile_interval,
    resampled_rows,
    sign_flip,
    smallest_difference,
    wilson,
)

ALL = "all"
RESAMPLES = 1000
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
        if value is None or not isfinite(value):
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
        self.failures: dict[int, str] = {}
        """Number of a metric that raised, and why: it is not measured, the others are."""

    def add(self, record: Record) -> None:
        labels = record.sample.labels
        groups = [ALL, *(f"{name}={_plain(labels[name])}" for name in self.breakdown if name in labels)]
        for number, metric in enumerate(self.metrics):
            if number in self.failures:
                continue
            try:
                if metric.covers(record):
                    for group in groups:
                        self._columns.setdefault((number, group), Column()).add(metric, record)
            except Exception as error:  # a plugin's metric may fail in any way
                why = f"{type(error).__name__}: {error}"
                self.failures[number] = f"metric {metric.title!r} failed on record {record.id!r}: {why}"

    def measurements(self) -> tuple[Measurement, ...]:
        """Metric by metric, the whole first, then its groups in order of their names."""
        found: list[Measurement] = []
        for number, metric in enumerate(self.metrics):
            if number in self.failures:
                continue
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
    return mean, *_resampled(cluster_means(values, column.clusters, seed=seed))


def _computed(metric: Metric, column: Column, seed: int) -> Estimate:
    value = metric.compute(column.kept)
    if value is None:
        return None, None, "none"
    drawn = resampled_rows(column.clusters, RESAMPLES, seed)
    draws = [_or_nan(metric.compute([column.kept[row] for row in rows])) for rows in drawn]
    return value, *_resampled(np.array(draws))


def _resampled(draws: Floats) -> tuple[Interval | None, Method]:
    """The interval of bootstrap draws; none where all agree (one cluster, equal values): that is no certainty."""
    found = draws[np.isfinite(draws)]
    if not found.size or found.min() == found.max():
        return None, "none"
    return percentile_interval(found), "cluster bootstrap"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


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
    detectable: float | None = None
    """The smallest difference that a test at 5 % finds with a power of 80 %, given how many outcomes changed; only for
    outcomes of 0 and 1 of independent samples."""
    count: int = 0
    """Samples scored in both runs."""
    left_out: int = 0
    """Samples of either run that were not scored in both."""


def compare(dataset: str, metric: Metric, a: Iterable[Record], b: Iterable[Record], seed: int = 0) -> Comparison:
    """Paired comparison by sample id and epoch.

    For means, p is exact McNemar's for outcomes of 0 and 1 of independent samples, else that of a sign-flip test over
    clusters. For other metrics there is an interval and no p. Intervals are a paired bootstrap over clusters. Raises
    RunMismatch when the runs share no scored sample.
    """
    left, right = _covered(metric, a), _covered(metric, b)
    shared = [
        (left[key], right[key])
        for key in left
        if key in right and left[key].value is not None and right[key].value is not None
    ]
    if not shared:
        raise RunMismatch(f"the runs share no scored sample of {dataset!r} under {metric.title!r}")
    clusters = [one.record.sample.cluster for one, _ in shared]
    x, y = (np.array([pair[side].value for pair in shared], dtype=np.float64) for side in (0, 1))
    if metric.is_mean():
        before, after = float(x.mean()), float(y.mean())
        draws = cluster_means(y - x, clusters, seed=seed)
        p, method = _paired_p(x, y, clusters, seed)
    else:
        rows = range(len(shared))
        before, after = (_or_nan(_recomputed(metric, shared, side, rows)) for side in (0, 1))
        draws = np.array(
            [
                _or_nan(_recomputed(metric, shared, 1, drawn)) - _or_nan(_recomputed(metric, shared, 0, drawn))
                for drawn in resampled_rows(clusters, RESAMPLES, seed)
            ]
        )
        p, method = None, "paired bootstrap"
    interval, _ = _resampled(draws)
    return Comparison(
        dataset=dataset,
        metric=metric.title,
        a=before,
        b=after,
        difference=after - before,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        p=p,
        method=method,
        detectable=smallest_difference(float((x != y).mean()), len(shared)) if method == "mcnemar" else None,
        count=len(shared),
        left_out=len(left.keys() | right.keys()) - len(shared),
    )


@dataclass(frozen=True)
class _Covered:
    """A record of a metric's population; without a value when it is unscored."""

    record: Record
    value: float | None


def _covered(metric: Metric, records: Iterable[Record]) -> Mapping[tuple[str, int], _Covered]:
    found: dict[tuple[str, int], _Covered] = {}
    for record in records:
        if metric.covers(record):
            value = metric.per_record(record)
            found[record.id, record.epoch] = _Covered(record, value)
    return found


def _recomputed(
    metric: Metric, shared: Sequence[tuple[_Covered, _Covered]], side: int, rows: Iterable[int]
) -> float | None:
    return metric.compute([shared[row][side].record for row in rows])


def _paired_p(x: Floats, y: Floats, clusters: Sequence[str], seed: int) -> tuple[float, str]:
    binary = bool(np.isin(np.concatenate([x, y]), (0.0, 1.0)).all())
    if binary and len(set(clusters)) == len(clusters):
        return mcnemar(int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum())), "mcnemar"
    return sign_flip(y - x, clusters, seed), "sign flips"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
