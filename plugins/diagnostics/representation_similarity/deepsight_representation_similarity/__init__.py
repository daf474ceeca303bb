"""Representation similarity for DeepSight: how alike layers, models and cohorts see the same samples."""

from __future__ import annotations

from collections.abc import Iterable

from deepsight_core import Diagnostic, hookimpl
from deepsight_representation_similarity.diagnostic import RepresentationSimilarity


@hookimpl
def deepsight_diagnostics() -> Iterable[type[Diagnostic]]:
    return [RepresentationSimilarity]
