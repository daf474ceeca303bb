"""BeaverTails answers as TELLME sorts them: 1000 unsafe and 1000 safe, or 200 of each of six classes."""

from __future__ import annotations

from deepsight_beavertails_tellme.dataset import BeaverTailsTellme
from deepsight_core import Dataset, hookimpl

__all__ = ["BeaverTailsTellme"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [BeaverTailsTellme]
