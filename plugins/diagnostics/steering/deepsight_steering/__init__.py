"""Steering for DeepSight: the dose-response of a direction over a benchmark."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_steering.diagnostic import Steering


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [Steering]
