"""X-Boundary for DeepSight: where harmful, safe and boundary texts lie in a model's hidden space."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_x_boundary.diagnostic import XBoundary


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [XBoundary]
