"""Safety heads: attention heads without which a model refuses less, and harmful requests above all."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_safety_heads.diagnostic import SafetyHeads


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [SafetyHeads]
