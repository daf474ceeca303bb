"""MI-Peaks for DeepSight: where along an answer does the state depend on the reference answer's, and on this one's?"""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_mi_peaks.diagnostic import MIPeaks


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [MIPeaks]
