"""Safety neurons for DeepSight: which MLP neurons set a safety-tuned model apart, and does refusal need them?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_safety_neurons.diagnostic import SafetyNeurons


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [SafetyNeurons]
