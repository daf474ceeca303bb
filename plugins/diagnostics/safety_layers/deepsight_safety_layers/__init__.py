"""Safety layers for DeepSight: where harmful requests part from harmless ones, and which layers refusal needs."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_safety_layers.diagnostic import SafetyLayers


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [SafetyLayers]
