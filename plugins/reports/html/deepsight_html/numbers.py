"""The numbers behind a figure, for those who want to read rather than see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

MOST = 300
"""Rows that are written out; a figure may have more numbers than a reader has patience."""

Row = tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    head: Row
    rows: tuple[Row, ...]
    left_out: int
    """Rows that only report.json holds."""


def numbers(head: Row, rows: Iterable[Row], count: int, most: int = MOST) -> Numbers:
    return Numbers(head, tuple(islice(rows, most)), max(0, count - most))
