"""Looking inside a transformers model: rendering, sites, and one exact capture pass for all that is wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["ImageRenderer", "Rendered", "Renderer", "TransformersInside"]

if TYPE_CHECKING:
    from deepsight_torch.images import ImageRenderer
    from deepsight_torch.inside import TransformersInside
    from deepsight_torch.rendering import Rendered, Renderer

_HOMES = {"ImageRenderer": "images", "Rendered": "rendering", "Renderer": "rendering", "TransformersInside": "inside"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
