"""Attacked pairs: the contrast pairs, plain and inside five mild, well-known jailbreak frames."""

from __future__ import annotations

from deepsight_attacked_pairs.dataset import AttackedPairs
from deepsight_core import Dataset, hookimpl

__all__ = ["AttackedPairs"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [AttackedPairs]
