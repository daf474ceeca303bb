"""Where an attack moves a prompt: along the refusal direction, along the harmfulness direction, or elsewhere.

A direction is known up to an error, and an attack that moves prompts far *elsewhere* moves them along that error too,
all of them the same way: no test over prompts alone would notice. The error is therefore drawn as well, by fitting
the directions again to bootstrap draws of the plain prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepsight_causal import unit
from deepsight_root_cause.cases import Cases, Ints
from deepsight_root_cause.study import Study
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights
from deepsight_jailbreak_shift.forms import Forms

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Move:
    """Change of one coordinate, by pair of forms, in within-class spreads."""

    values: Floats
    """(pairs, layers)"""
    at: int
    """Number of the layer at which it is reported."""
    error: Floats
    """(draws, pairs): what the error of the direction alone would show at that layer."""

    @property
    def there(self) -> Floats:
        """(pairs,): at the reported layer."""
        return np.asarray(self.values[:, self.at])


@dataclass(frozen=True, eq=False)
class Shift:
    """What changes between the plain and the attacked form."""

    refusal: Move
    """At the last token."""
    harmfulness: Move
    """At the instruction's end."""
    gap: float
    """Refusal coordinate of the plain harmless prompts less that of the plain harmful ones, held out: what an attack
    would have to do to make a harmful prompt look harmless."""
    along: Floats
    """(pairs, 2): share of the squared shift at the last token along the refusal direction, and along what the
    harmfulness direction adds to it, at the layer where the decision is read. The rest of 1 is elsewhere."""
    by_luck: Floats
    """(draws, pairs, 2): the same along directions that are nothing but error."""


def shift(made: Study, instruction: NDArray[np.float32], forms: Forms, draws: int, seed: int) -> Shift:
    """`instruction`: activations at the instruction's end, (rows, layers, width), in the order of `made.known`."""
    known, deciding, recognising = made.known, made.decided.usual, made.recognised.usual
    fold = known.fold[forms.attacked]

    def moved(x: NDArray[np.float32], layer: int) -> Floats:
        return np.asarray(x[forms.attacked, layer].astype(np.float64) - x[forms.plain, layer])

    def move(kind: str, x: NDArray[np.float32], errors: Floats, layer: int) -> Move:
        fitted = made.refusal if kind == "refusal" else made.harmfulness
        lengths = np.linalg.norm(fitted.vectors[:, layer], axis=1)[fold] * fitted.spreads[layer]
        error = np.einsum("nw,pnw->pn", moved(x, layer), errors[:, fold]) / np.where(lengths > 0, lengths, 1)
        return Move(fitted.values[forms.attacked] - fitted.values[forms.plain], layer, error)

    refusal = _errors(made.last[:, deciding], known.decided, known, draws, seed)
    harmfulness = _errors(instruction[:, recognising], known.harmful, known, draws, seed + 1)
    beside = _errors(instruction[:, deciding], known.harmful, known, draws, seed + 2)
    plain = made.refusal.values[~known.reported, deciding]
    labels = known.harmful[~known.reported]
    delta = moved(made.last, deciding)
    return Shift(
        refusal=move("refusal", made.last, refusal, deciding),
        harmfulness=move("harmfulness", instruction, harmfulness, recognising),
        gap=float(plain[labels == 0].mean() - plain[labels == 1].mean()),
        along=_along(delta, made.refusal.vectors[:, deciding], made.harmfulness.vectors[:, deciding], fold),
        by_luck=np.stack([_along(delta, one, other, fold) for one, other in zip(refusal, beside, strict=True)]),
    )


def _errors(x: NDArray[np.float32], labels: Ints, known: Cases, count: int, seed: int) -> Floats:
    """What each fold's difference of means, of rows (rows, width), misses by: its bootstrap draws over clusters
    of plain prompts less itself, (count, folds, width)."""
    rows = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    weights = cluster_weights(known.groups, count, seed)
    found = np.zeros((count, len(known.parts), x.shape[1]))
    for number, part in enumerate(known.parts):
        for label, sign in ((1, 1.0), (0, -1.0)):
            mine = part.train[labels[part.train] == label]
            drawn = weights[:, mine]
            total = drawn.sum(axis=1, keepdims=True)
            share = np.where(total > 0, drawn / np.maximum(total, 1), 1 / len(mine))
            found[:, number] += sign * (share - 1 / len(mine)) @ rows[mine]
    return found


def _along(delta: Floats, refusal: Floats, harmfulness: Floats, fold: Ints) -> Floats:
    """Squared shares of shifts (pairs, width) along directions (folds, width), the second made orthogonal to the
    first."""
    first = unit(refusal)[fold]
    second = unit(harmfulness)[fold]
    second = unit(second - (second * first).sum(axis=1, keepdims=True) * first)
    total = (delta**2).sum(axis=1)
    parts = np.stack([(delta * first).sum(axis=1) ** 2, (delta * second).sum(axis=1) ** 2], axis=1)
    return np.asarray(np.divide(parts, total[:, None], out=np.zeros_like(parts), where=total[:, None] > 0))
