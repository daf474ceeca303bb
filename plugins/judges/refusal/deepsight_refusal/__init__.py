"""A refusal judge that needs no model: rules for English and Chinese, and for answers that are none."""

from __future__ import annotations

from deepsight_core import Judge, hookimpl
from deepsight_refusal.judge import Refusal

__all__ = ["Refusal"]


@hookimpl
def deepsight_judges() -> list[type[Judge]]:
    return [Refusal]
