"""The hooks by which plugins offer components and observe runs. No parameter has a default value: pluggy before 1.7
does not pass the caller's value on to an implementation that gives one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from deepsight_core.components import Dataset, Diagnostic, Judge, Metric, Model, Reporter
    from deepsight_core.protocol import Manifest, Record, Report

hookspec = pluggy.HookspecMarker("deepsight")
hookimpl = pluggy.HookimplMarker("deepsight")


@hookspec
def deepsight_datasets() -> Iterable[type[Dataset]]:
    """The data sets (benchmarks) of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_models() -> Iterable[type[Model]]:
    """The model adapters of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_judges() -> Iterable[type[Judge]]:
    """The judges of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_metrics() -> Iterable[type[Metric]]:
    """The metrics of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    """The diagnostics of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_reporters() -> Iterable[type[Reporter]]:
    """The reporters of this plugin."""
    raise NotImplementedError


@hookspec
def deepsight_run_started(manifest: Manifest) -> None:
    """A run begins; the manifest is on disk, nothing was asked yet."""


@hookspec
def deepsight_sample_done(record: Record) -> None:
    """A record is complete and written."""


@hookspec
def deepsight_run_finished(report: Report) -> None:
    """A run ended and its report is written."""


PROVIDERS = {
    "dataset": "deepsight_datasets",
    "model": "deepsight_models",
    "judge": "deepsight_judges",
    "metric": "deepsight_metrics",
    "diagnostic": "deepsight_diagnostics",
    "reporter": "deepsight_reporters",
}
"""Kind of component to the hook that provides it."""
