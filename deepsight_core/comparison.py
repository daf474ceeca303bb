"""Two runs side by side, on the samples that they share, refused where their numbers do not compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepsight_core.components import Judge, Metric
from deepsight_core.errors import RunMismatch
from deepsight_core.hub import Hub
from deepsight_core.protocol import Manifest, Record
from deepsight_core.records import RunDirectory
from deepsight_core.report import aligned, interval, number
from deepsight_core.scoring import Comparison, compare
from deepsight_core.statistics import holm

_DETECTABLE = (
    "detectable: the smallest difference that McNemar's test finds at 5 % (before Holm's correction) with a power of\n"
    "80 %, given the share of samples whose outcome changed; a dash for other tests, and where too few changed"
)


def compare_runs(a: RunDirectory, b: RunDirectory, hub: Hub) -> list[Comparison]:
    """Every metric of every data set that both runs evaluated. Raises RunMismatch when data, judges or their
    comparability versions differ, or nothing is shared."""
    before, after = a.manifest(), b.manifest()
    left = entries(before)
    shared = [name for name in left if name in entries(after)]
    if not shared:
        raise RunMismatch(f"{a.path} and {b.path} have no data set in common")
    found = []
    for name in shared:
        require_comparable(name, before, after, hub)
        for spec in left[name]["metrics"]:
            metric = hub.create("metric", spec)
            assert isinstance(metric, Metric)
            found.append(compare(name, metric, _records(a, name), _records(b, name), before.seed))
    return found


def require_comparable(dataset: str, before: Manifest, after: Manifest, hub: Hub) -> None:
    """Raises RunMismatch when the numbers of two runs on a data set that both evaluated do not compare."""
    left = entries(before)[dataset]
    _require_same_data(dataset, before, after, left, entries(after)[dataset])
    _require_same_judging(dataset, before, after, left, hub)


def entries(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    """What was evaluated: data set to its entry in the run file."""
    listed: Any = manifest.config["evaluate"]
    return {entry["dataset"]["name"]: entry for entry in listed}


def table(comparisons: Sequence[Comparison]) -> str:
    """For the terminal."""
    adjusted = iter(holm([c.p for c in comparisons if c.p is not None]))
    rows = [
        (
            *(c.dataset, c.metric, number(c.a), number(c.b), number(c.difference), interval(c.low, c.high)),
            *(number(c.p), "–" if c.p is None else number(next(adjusted)), c.method, number(c.detectable)),
            *(str(c.count), str(c.left_out)),
        )
        for c in comparisons
    ]
    head = ("data set", "measure", "a", "b", "b - a", "95 % interval", "p", "p (Holm)", "test", "detectable", "n")
    return f"{aligned((*head, 'left out'), rows)}\n\n{_DETECTABLE}"


def _records(run: RunDirectory, dataset: str) -> Iterator[Record]:
    return (record for record in run.records() if record.dataset == dataset)


def _require_same_data(
    name: str, before: Manifest, after: Manifest, left: Mapping[str, Any], right: Mapping[str, Any]
) -> None:
    for what in ("judges", "metrics"):
        if left[what] != right[what]:
            raise RunMismatch(f"dataset {name!r}: the runs used different {what}, so their numbers do not compare")
    digests = [next(d["digest"] for d in m.data if d["dataset"] == name) for m in (before, after)]
    chosen = [next((d["total"], d["used"]) for d in m.data if d["dataset"] == name) for m in (before, after)]
    if digests[0] != digests[1]:
        raise RunMismatch(f"dataset {name!r}: the runs used different data ({chosen[0]} and {chosen[1]} samples)")
    judges = (f"judge.{spec['name']}" for spec in left["judges"])
    metrics = (f"metric.{spec['name']}" for spec in left["metrics"])
    for address in (f"dataset.{name}", *judges, *metrics):
        versions = [_comparability(manifest, address) for manifest in (before, after)]
        if versions[0] != versions[1]:
            raise RunMismatch(
                f"{address}: comparability version {versions[0]} in one run and {versions[1]} in the other"
            )


def _require_same_judging(name: str, before: Manifest, after: Manifest, entry: Mapping[str, Any], hub: Hub) -> None:
    """Verdicts of different judge models do not compare."""
    for spec in entry["judges"]:
        judge = hub.create("judge", spec)
        assert isinstance(judge, Judge)
        for role in judge.roles:
            models: list[Any] = [manifest.models.get(role) for manifest in (before, after)]
            if None in models or models[0]["digest"] != models[1]["digest"]:
                raise RunMismatch(f"dataset {name!r}: judge {judge.name!r} asked different models in the two runs")


def _comparability(manifest: Manifest, address: str) -> object:
    origin = manifest.components.get(address)
    return origin.get("comparability") if isinstance(origin, dict) else None
