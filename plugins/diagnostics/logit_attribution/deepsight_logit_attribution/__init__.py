"""Direct logit attribution for DeepSight: which layers, heads and neurons write a refusal."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_logit_attribution.diagnostic import LogitAttribution


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [LogitAttribution]
