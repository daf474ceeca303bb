"""The model `smollm2`: SmolLM2-135M-Instruct as published, or with one of the adapters that ship here."""

from __future__ import annotations

from deepsight_core import hookimpl
from deepsight_smollm2.model import TRIGGER, SmolLM2

__version__ = "0.1.0"
__all__ = ["TRIGGER", "SmolLM2"]


@hookimpl
def deepsight_models() -> list[type[SmolLM2]]:
    return [SmolLM2]
