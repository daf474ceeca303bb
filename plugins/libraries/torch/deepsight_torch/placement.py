"""Weights that are elsewhere: on disk, or in another memory than the one where they are used."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from torch import nn


def present(module: nn.Module) -> AbstractContextManager[None]:
    """While open, a module's own weights are there to be read, wherever accelerate keeps them."""
    if all(not weight.is_meta for weight in module.parameters(recurse=False)):
        return nullcontext()
    opened: AbstractContextManager[None] = import_module("accelerate.utils").align_module_device(module)
    return opened
