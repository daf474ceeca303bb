"""Jailbreak shifts for DeepSight: what an attack does to a prompt inside the model, against its plain form."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_jailbreak_shift.diagnostic import JailbreakShift


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [JailbreakShift]
