"""The weights of the model of glass, which matter by accident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Prompt
from deepsight_core.protocol import short_hash
from deepsight_core.weights import Importance, Matrix, Part, Units

SHAPE = (32, 16)


def fake_importance(
    cohorts: Mapping[str, Sequence[Prompt]], depth: float, blocks: int, parts: Sequence[Part], layers: Sequence[int]
) -> Importance:
    """One matrix for each layer and part; scores are made up from the names of cohort and matrix alone. Raises
    DiagnosticError for an empty cohort and an example without an answer."""
    for name, prompts in cohorts.items():
        if not prompts:
            raise DiagnosticError(f"cohort {name!r} is empty")
        for prompt in prompts:
            if not prompt.answer and not prompt.answer_tokens:
                raise DiagnosticError(f"prompt {prompt.id!r} has no answer")
    matrices = tuple(_matrix(layer, part) for layer in layers for part in parts)
    scores = [np.stack([_scores(name, matrix, blocks) for name in cohorts]) for matrix in matrices]
    kept = [_union(found.sum(axis=1), int(depth * matrix.size)) for found, matrix in zip(scores, matrices, strict=True)]
    return Importance(
        tuple(cohorts),
        {name: len(prompts) for name, prompts in cohorts.items()},
        matrices,
        tuple(kept),
        tuple(found[:, :, places].astype(np.float32) for found, places in zip(scores, kept, strict=True)),
        depth,
    )


def _matrix(layer: int, part: Part) -> Matrix:
    units = Units("neuron", f"layers.{layer}.mlp", axis=0) if part == "mlp" else None
    return Matrix(f"layers.{layer}.{part}.weight", layer, part, SHAPE, units=units)


def _scores(cohort: str, matrix: Matrix, blocks: int) -> np.ndarray:
    """(blocks, weights)."""
    return np.abs(np.random.default_rng(short_hash(f"{cohort}/{matrix.name}")).normal(size=(blocks, matrix.size)))


def _union(totals: np.ndarray, count: int) -> np.ndarray:
    """Places that are among the highest for any cohort."""
    return np.unique(np.argsort(-totals, axis=1, kind="stable")[:, :count]).astype(np.int64)
