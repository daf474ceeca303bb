"""The model `replay`: answers that were recorded before, so that they can be judged again or elsewhere."""

from __future__ import annotations

from deepsight_core import hookimpl
from deepsight_replay.model import Replay

__version__ = "0.1.0"
__all__ = ["Replay"]


@hookimpl
def deepsight_models() -> list[type[Replay]]:
    return [Replay]
