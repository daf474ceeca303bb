"""A run as pandas frames: samples with verdicts and internal coordinates, measurements, findings.

pandas comes with the extra `deepsight-core[frames]` and is imported when the first frame is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepsight_core.errors import ConfigError
from deepsight_core.protocol import Diagnosis, Measurement, Record

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped,import-not-found,unused-ignore]

_FIRST = ("id", "dataset", "epoch", "group")


def samples(records: Iterable[Record], diagnoses: Sequence[Diagnosis] = ()) -> DataFrame:
    """One row a record, and one for each sample that only a diagnosis knows.

    Columns: id, dataset, epoch, group; `label.NAME`; prompt (what the user said), answer, error; `verdict.JUDGE` and
    `score.JUDGE`, both missing where the judge could not decide; `DIAGNOSTIC.COLUMN` of every table of a diagnosis,
    with the mode (`x-boundary corrected.position`) where a diagnostic ran more than once. A value that nobody gave is
    missing.
    """
    tables = {
        f"{name}.{column}": {id: row.get(column) for id, row in made.table.items()}
        for name, made in zip(names(diagnoses), diagnoses, strict=True)
        for column in dict.fromkeys(column for row in made.table.values() for column in row)
    }
    rows = [_row(record) for record in records]
    known = {row["id"] for row in rows}
    rows += [{"id": id} for id in dict.fromkeys(id for table in tables.values() for id in table) if id not in known]
    for row in rows:
        row.update((column, table.get(row["id"])) for column, table in tables.items())
    labels, verdicts = (
        list(dict.fromkeys(column for row in rows for column in row if column.startswith(kinds)))
        for kinds in (("label.",), ("verdict.", "score."))
    )
    columns = dict.fromkeys((*_FIRST, *labels, "prompt", "answer", "error", *verdicts, *tables))
    return _frame(rows, list(columns))


def measurements(found: Sequence[Measurement]) -> DataFrame:
    """One row a measurement, with the fields of `Measurement`."""
    return _frame([one.model_dump() for one in found], list(Measurement.model_fields))


def findings(diagnoses: Sequence[Diagnosis]) -> DataFrame:
    """One row a finding: diagnostic, mode and the fields of `Finding`, its site in columns of their own (site for its
    kind, layer, head, neuron, position)."""
    rows = []
    for made in diagnoses:
        for one in made.findings:
            site = one.site.model_dump() if one.site else {}
            place = {"site": site.get("kind"), "neuron": site.get("unit")}
            place |= {part: site.get(part) for part in ("layer", "head", "position")}
            rows.append({"diagnostic": made.diagnostic, "mode": made.mode, **one.model_dump(), **place})
    first = ["diagnostic", "mode", "name", "value", "low", "high", "null_low", "null_high", "p", "count", "unit"]
    last = ["evidence", "headline", "summary", "samples"]
    return _frame(rows, [*first, "site", "layer", "head", "neuron", "position", *last])


def names(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """A name for each diagnosis: the diagnostic's, with its mode where it ran more than once, and numbered where that
    is the same too."""
    often = Counter(made.diagnostic for made in diagnoses)
    found = [
        f"{made.diagnostic} {made.mode}".rstrip() if often[made.diagnostic] > 1 else made.diagnostic
        for made in diagnoses
    ]
    often, seen, told = Counter(found), Counter[str](), []
    for name in found:
        seen[name] += 1
        told.append(f"{name} {seen[name]}" if often[name] > 1 else name)
    return told


def _row(record: Record) -> dict[str, Any]:
    sample, output = record.sample, record.output
    row: dict[str, Any] = {"id": record.id, "dataset": record.dataset, "epoch": record.epoch, "group": sample.group}
    row.update((f"label.{name}", value) for name, value in sample.labels.items())
    row["prompt"] = "\n".join(message.text for message in sample.question if message.role == "user")
    row["answer"] = None if output.error else output.text
    row["error"] = output.error
    for judgement in record.judgements:
        scored = judgement.status == "scored"
        row[f"verdict.{judgement.judge}"] = judgement.label if scored else None
        row[f"score.{judgement.judge}"] = judgement.score if scored else None
    return row


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> DataFrame:
    """Raises ConfigError when pandas is not installed."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigError(
            f"frames need pandas, which cannot be imported ({error}): pip install 'deepsight-core[frames]'"
        ) from error
    return pandas.DataFrame(rows, columns=list(columns))
