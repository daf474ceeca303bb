"""Activation patching between twins: where in a model refusal is decided, and which heads and MLPs write it."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_activation_patching.diagnostic import ActivationPatching
from deepsight_core import Diagnostic, hookimpl


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [ActivationPatching]
