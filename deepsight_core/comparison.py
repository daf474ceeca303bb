"""Two runs side by side, on the samples that they share, refused where their numbers do not compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepsight_core.components import Metric
from deepsight_core.errors import RunMismatch
from deepsight_core.hub import Hub
from deepsight_core.protocol import Manifest, Record
from deepsight_core.records import RunDirectory
from deepsight_core.report import aligned, interval, number
from deepsight_core.scoring import Comparison, compare


def compare_runs(a: RunDirectory, b: RunDirectory, hub: Hub) -> list[Comparison]:
    """Every metric of every data set that both runs evaluated. Raises RunMismatch when data, judges or their
    comparability versions differ, or nothing is shared."""
    before, after = a.manifest(), b.manifest()
    left, right = _entries(before), _entries(after)
    shared = [name for name in left if name in right]
    if not shared:
        raise RunMismatch(f"{a.path} and {b.path} have no data set in common")
    found = []
    for name in shared:
        _require_comparable(name, before, after, left[name], right[name])
        for spec in left[name]["metrics"]:
            metric = hub.create("metric", spec)
            assert isinstance(metric, Metric)
            if metric.is_mean():
                found.append(compare(name, metric, _records(a, name), _records(b, name), before.seed))
    return found


def table(comparisons: Sequence[Comparison]) -> str:
    """For the terminal."""
    rows = [
        (
            *(c.dataset, c.metric, number(c.a), number(c.b), number(c.difference), interval(c.low, c.high)),
            *(number(c.p), c.method, str(c.count), str(c.left_out)),
        )
        for c in comparisons
    ]
    head = ("data set", "measure", "a", "b", "b - a", "95 % interval", "p", "test", "n", "left out")
    return aligned(head, rows)


def _records(run: RunDirectory, dataset: str) -> Iterator[Record]:
    return (record for record in run.records() if record.dataset == dataset)


def _entries(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    listed: Any = manifest.config["evaluate"]
    return {entry["dataset"]["name"]: entry for entry in listed}


def _require_comparable(
    name: str, before: Manifest, after: Manifest, left: Mapping[str, Any], right: Mapping[str, Any]
) -> None:
    for what in ("judges", "metrics"):
        if left[what] != right[what]:
            raise RunMismatch(f"dataset {name!r}: the runs used different {what}, so their numbers do not compare")
    digests = [next(d["digest"] for d in m.data if d["dataset"] == name) for m in (before, after)]
    chosen = [next((d["total"], d["used"]) for d in m.data if d["dataset"] == name) for m in (before, after)]
    if digests[0] != digests[1]:
        raise RunMismatch(f"dataset {name!r}: the runs used different data ({chosen[0]} and {chosen[1]} samples)")
    for address in (f"dataset.{name}", *(f"judge.{j['name']}" for j in left["judges"])):
        versions = [_comparability(manifest, address) for manifest in (before, after)]
        if versions[0] != versions[1]:
            raise RunMismatch(
                f"{address}: comparability version {versions[0]} in one run and {versions[1]} in the other"
            )


def _comparability(manifest: Manifest, address: str) -> object:
    origin = manifest.components.get(address)
    return origin.get("comparability") if isinstance(origin, dict) else None
