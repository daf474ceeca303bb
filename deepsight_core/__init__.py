"""DeepSight: evaluate the safety of a language model, diagnose it from the inside, and join the two.

Names are imported when they are used, so that `import deepsight_core` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepsight_core.components import (
        Component as Component,
        Dataset as Dataset,
        Diagnostic as Diagnostic,
        Inbox as Inbox,
        Judge as Judge,
        Metric as Metric,
        Model as Model,
        Reporter as Reporter,
        Ticket as Ticket,
    )
    from deepsight_core.evidence import Contrast as Contrast, Evidence as Evidence
    from deepsight_core.hookspecs import hookimpl as hookimpl
    from deepsight_core.inside import (
        Acts as Acts,
        Geometry as Geometry,
        Inside as Inside,
        Prompt as Prompt,
        Want as Want,
    )
    from deepsight_core.protocol import (
        Audio as Audio,
        Diagnosis as Diagnosis,
        Exchange as Exchange,
        Finding as Finding,
        Generate as Generate,
        Image as Image,
        Judgement as Judgement,
        Likelihoods as Likelihoods,
        LogLikelihood as LogLikelihood,
        Manifest as Manifest,
        Measurement as Measurement,
        Message as Message,
        Output as Output,
        Record as Record,
        Report as Report,
        Request as Request,
        Sample as Sample,
        Site as Site,
        Steps as Steps,
        Text as Text,
        assistant as assistant,
        content_id as content_id,
        system as system,
        user as user,
    )
    from deepsight_core.session import Run as Run, run as run
    from deepsight_core.sources import Source as Source

_HOMES = {
    "components": "Component Dataset Diagnostic Inbox Judge Metric Model Reporter Ticket",
    "evidence": "Contrast Evidence",
    "hookspecs": "hookimpl",
    "inside": "Acts Geometry Inside Prompt Want",
    "protocol": "Audio Diagnosis Exchange Finding Generate Image Judgement Likelihoods LogLikelihood Manifest "
    "Measurement Message Output Record Report Request Sample Site Steps Text assistant content_id system user",
    "session": "Run run",
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
