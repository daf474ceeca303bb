"""Many runs in one table: the measures of safety and of over-refusal that all share, and who is on the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepsight_core.aspects import Aspect, aspect
from deepsight_core.comparison import entries, require_comparable
from deepsight_core.display import finite, visible
from deepsight_core.errors import RunMismatch
from deepsight_core.hub import Hub
from deepsight_core.protocol import Measurement, Report
from deepsight_core.records import RunDirectory
from deepsight_core.report import ARROW, aligned, describe, interval, number

DIGITS = 8
"""Digits of a model's digest that are shown: enough to tell two models of one name apart."""


@dataclass(frozen=True)
class Column:
    """A measure that every run has."""

    dataset: str
    metric: str
    judge: str | None
    aspect: Aspect
    better: str


@dataclass(frozen=True)
class Row:
    """A run."""

    run: str
    model: str
    digest: str
    samples: int
    """Of the data sets that all runs share."""
    unscored: int
    """Of the records that the columns count."""
    cells: tuple[Measurement, ...]
    """One a column."""
    frontier: bool | None
    """True where no other run is at least as good in every column and better in one; None where a column has no
    value."""


@dataclass(frozen=True)
class Leaderboard:
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def leaderboard(runs: Sequence[RunDirectory], hub: Hub) -> Leaderboard:
    """The runs in the order given.

    Raises RunMismatch when they share no data set or no measure of safety or over-refusal, or when on a shared data set
    samples, judges, metrics or comparability versions differ.
    """
    reports = [run.report() for run in runs]
    shared = _shared_data(runs, reports, hub)
    found = [_measured(report, shared) for report in reports]
    columns = tuple(column for column in found[0] if all(column in one for one in found))
    if not columns:
        raise RunMismatch(
            f"the runs share {', '.join(shared)}, but no measure of safety or over-refusal on it; evaluate them with "
            "the metrics refusal-rate and over-refusal-rate"
        )
    cells = [tuple(one[column] for column in columns) for one in found]
    goods = [_goods(columns, row) for row in cells]
    rows = (
        _row(run, report, shared, row, _on_frontier(good, goods))
        for run, report, row, good in zip(runs, reports, cells, goods, strict=True)
    )
    return Leaderboard(columns, tuple(rows))


def table(board: Leaderboard) -> str:
    """For the terminal."""
    head = [
        *("run", "model", "digest"),
        *(f"{one.dataset}: {one.metric}{_judge(one, board)} {ARROW[one.better]}" for one in board.columns),
        *("samples", "unscored", "frontier"),
    ]
    rows = [
        (
            *(visible(row.run), visible(row.model), row.digest[:DIGITS]),
            *(f"{number(cell.value)} [{interval(cell.low, cell.high) or 'no interval'}]" for cell in row.cells),
            *(str(row.samples), str(row.unscored), {True: "*", False: "", None: "unknown"}[row.frontier]),
        )
        for row in board.rows
    ]
    note = "* on the frontier: no other run is at least as good in every measure and better in one (by value alone)"
    return f"{aligned(head, rows)}\n\n{note}"


def _judge(column: Column, board: Leaderboard) -> str:
    """Named where columns of one data set differ by it."""
    others = {other.judge for other in board.columns if other.dataset == column.dataset}
    return f", {column.judge}" if column.judge and len(others) > 1 else ""


def _shared_data(runs: Sequence[RunDirectory], reports: Sequence[Report], hub: Hub) -> list[str]:
    manifests = [report.manifest for report in reports]
    shared = [name for name in entries(manifests[0]) if all(name in entries(other) for other in manifests)]
    if not shared:
        raise RunMismatch(f"{', '.join(str(run.path) for run in runs)} have no data set in common")
    for run, manifest in zip(runs[1:], manifests[1:], strict=True):
        for name in shared:
            try:
                require_comparable(name, manifests[0], manifest, hub)
            except RunMismatch as error:
                raise RunMismatch(f"{runs[0].path} and {run.path}: {error}") from error
    return shared


def _measured(report: Report, shared: Sequence[str]) -> dict[Column, Measurement]:
    found: dict[Column, Measurement] = {}
    for one in report.measurements:
        about = aspect(one)
        if one.group == "all" and one.dataset in shared and about is not None:
            found.setdefault(Column(one.dataset, one.metric, one.judge, about, one.better), one)
    return found


def _row(
    run: RunDirectory, report: Report, shared: Sequence[str], cells: tuple[Measurement, ...], frontier: bool | None
) -> Row:
    target: Any = report.manifest.models.get("target")
    data: Any = report.manifest.data
    return Row(
        run=run.path.name or str(run.path),
        model=describe(target),
        digest=str(target.get("digest") or ""),
        samples=sum(entry["used"] for entry in data if entry["dataset"] in shared),
        unscored=sum(cell.unscored for cell in cells),
        cells=cells,
        frontier=frontier,
    )


def _goods(columns: Sequence[Column], cells: Sequence[Measurement]) -> tuple[float, ...] | None:
    """The row with every column turned so that more is better; None where one has no value."""
    values = [finite(cell.value) for cell in cells]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return tuple(v if column.better == "higher" else -v for column, v in zip(columns, known, strict=True))


def _on_frontier(own: tuple[float, ...] | None, all_: Sequence[tuple[float, ...] | None]) -> bool | None:
    if own is None:
        return None
    rivals = (other for other in all_ if other is not None and other != own)
    return not any(all(theirs >= mine for theirs, mine in zip(other, own, strict=True)) for other in rivals)
