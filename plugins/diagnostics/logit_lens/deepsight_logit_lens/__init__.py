"""The logit lens for DeepSight: at which layer a model begins to lean to refusing."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_logit_lens.diagnostic import LogitLens


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [LogitLens]
