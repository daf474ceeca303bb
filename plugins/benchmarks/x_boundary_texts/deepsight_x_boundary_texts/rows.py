"""Rows of a file: a JSON array, JSON lines or Parquet, read strictly and told by where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepsight_core.errors import SourceError

BATCH = 1000
"""Rows of a Parquet file that are held at a time."""


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with the words that say where it stands. Of a Parquet file, only `columns` are read.

    Raises SourceError for a file that cannot be read as what its ending says, and for rows that are no tables.
    """
    try:
        for number, row in enumerate(_rows(path, columns), start=1):
            where = f"{path}, row {number}"
            if not isinstance(row, dict):
                raise SourceError(f"{where} is not a table of fields")
            yield where, row
    except (ValueError, OSError) as error:  # pyarrow's errors are of these kinds too
        raise SourceError(f"cannot read {path}: {error}") from error


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    if path.suffix == ".parquet":
        # here, so that listing plugins does not load it
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

        with ParquetFile(path) as file:
            if missing := set(columns) - set(file.schema_arrow.names):
                raise SourceError(f"{path} has no column {min(missing)!r}")
            for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                yield from batch.to_pylist()
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8-sig") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    else:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(rows, list):
            raise SourceError(f"{path} holds no JSON array")
        yield from rows
