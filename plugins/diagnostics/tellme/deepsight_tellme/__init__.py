"""TELLME for DeepSight: how far hidden states tell classes of answers apart."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_tellme.diagnostic import Tellme


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [Tellme]
