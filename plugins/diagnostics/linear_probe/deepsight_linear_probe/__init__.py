"""Linear probes for DeepSight: can cohorts be told apart inside a model, and by more than their surface?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_linear_probe.diagnostic import LinearProbe


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [LinearProbe]
