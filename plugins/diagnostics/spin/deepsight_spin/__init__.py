"""SPIN for DeepSight: which weights matter most to two kinds of answers, and how many of them are the same."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_spin.diagnostic import Spin


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [Spin]
