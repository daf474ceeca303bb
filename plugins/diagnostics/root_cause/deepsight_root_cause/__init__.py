"""Root causes for DeepSight: did the model not recognise the harm, or recognise it and answer all the same?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_root_cause.diagnostic import RootCause


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [RootCause]
