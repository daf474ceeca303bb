"""Contrast pairs: harmful requests, each with a harmless twin that shares its frame and most of its words."""

from __future__ import annotations

from deepsight_contrast_pairs.dataset import ContrastPairs
from deepsight_core import Dataset, hookimpl

__all__ = ["ContrastPairs"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [ContrastPairs]
