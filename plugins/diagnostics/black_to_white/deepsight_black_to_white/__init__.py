"""black-to-white for DeepSight: is a failure predicted better by looking inside than by reading the prompt?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_black_to_white.diagnostic import BlackToWhite
from deepsight_core import Diagnostic, hookimpl


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [BlackToWhite]
