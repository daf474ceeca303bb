"""The refusal direction for DeepSight: does one direction of hidden space make the model refuse?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_refusal_direction.diagnostic import RefusalDirection


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [RefusalDirection]
