"""The model `transformers`: any causal language model that the transformers library can load."""

from __future__ import annotations

from deepsight_core import hookimpl
from deepsight_transformers.local import Checkpoint, LocalModel
from deepsight_transformers.model import TransformersModel

__version__ = "0.1.0"
__all__ = ["Checkpoint", "LocalModel", "TransformersModel"]


@hookimpl
def deepsight_models() -> list[type[TransformersModel]]:
    return [TransformersModel]
