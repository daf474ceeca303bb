"""Problems with worked solutions, for accuracy and for diagnostics that need a reference answer."""

from __future__ import annotations

from deepsight_core import Dataset, Judge, hookimpl
from deepsight_worked_problems.datasets import GSM8K, MathTrain12k
from deepsight_worked_problems.final_number import FinalNumber

__all__ = ["GSM8K", "FinalNumber", "MathTrain12k"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [GSM8K, MathTrain12k]


@hookimpl
def deepsight_judges() -> list[type[Judge]]:
    return [FinalNumber]
