"""SPIN's texts: prompts with answers about privacy, about fairness, and in general."""

from __future__ import annotations

from deepsight_core import Dataset, hookimpl
from deepsight_spin_texts.dataset import SpinTexts

__all__ = ["SpinTexts"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [SpinTexts]
