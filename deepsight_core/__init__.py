"""DeepSight: evaluate the safety of a language model, diagnose it from the inside, and join the two.

Names are imported when they are used, so that `import deepsight_core` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepsight_core.components import (
        Component,
        Dataset,
        Diagnostic,
        Inbox,
        Judge,
        Metric,
        Model,
        Reporter,
        Ticket,
    )
    from deepsight_core.evidence import Contrast, Evidence
    from deepsight_core.hookspecs import hookimpl
    from deepsight_core.inside import Acts, Geometry, Inside, Prompt, Want
    from deepsight_core.protocol import (
        Audio,
        Diagnosis,
        Exchange,
        Finding,
        Generate,
        Image,
        Judgement,
        Likelihoods,
        LogLikelihood,
        Manifest,
        Measurement,
        Message,
        Output,
        Record,
        Report,
        Request,
        Sample,
        Site,
        Steps,
        Text,
        assistant,
        content_id,
        system,
        user,
    )
    from deepsight_core.run import run
    from deepsight_core.sources import Source

_HOMES = {
    "components": "Component Dataset Diagnostic Inbox Judge Metric Model Reporter Ticket",
    "evidence": "Contrast Evidence",
    "hookspecs": "hookimpl",
    "inside": "Acts Geometry Inside Prompt Want",
    "protocol": "Audio Diagnosis Exchange Finding Generate Image Judgement Likelihoods LogLikelihood Manifest "
    "Measurement Message Output Record Report Request Sample Site Steps Text assistant content_id system user",
    "run": "run",
    "sources": "Source",
}
_HOME = {name: module for module, listed in _HOMES.items() for name in listed.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
