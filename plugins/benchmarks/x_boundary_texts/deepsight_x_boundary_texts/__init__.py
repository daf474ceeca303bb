"""The texts of the X-Boundary diagnostic, by its published rules: harmful, safe and boundary."""

from __future__ import annotations

from deepsight_core import Dataset, hookimpl
from deepsight_x_boundary_texts.dataset import XBoundaryTexts

__all__ = ["XBoundaryTexts"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [XBoundaryTexts]
