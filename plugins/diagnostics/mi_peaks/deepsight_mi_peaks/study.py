"""The measurements: every step of every answer, at every layer, against its own reference answer, others and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Array
from deepsight_mi_peaks.chance import Shape, above_chance, chance
from deepsight_mi_peaks.kernel import PUBLISHED, Kernel, dependence, factor, factors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ORDERS = 16
"""Random orders of a reference answer that are looked at together, which bounds the memory."""


@dataclass(frozen=True)
class Course:
    """One answer. Dependence is above chance: 0 for unrelated vectors, 1 for equal ones."""

    own: Floats
    """On its own reference answer, (layers, steps)."""
    others: Floats
    """On the reference answer of each partner, mean over the steps, (layers, partners)."""
    published: Floats
    """On its own reference answer, as published: unstandardised, sigma 50, (layers, steps)."""
    partners: Floats
    """On the reference answer of each partner, at the main layer, (partners, steps)."""
    shuffled: Floats
    """On its own reference answer with the coordinates in random order, at the main layer, (permutations, steps)."""
    spread: Floats
    """Standard deviation of the dependence over all orders of the coordinates, at the main layer, (steps,)."""
    largest: Floats
    """Share of the variance over coordinates that the largest coordinate holds, at the main layer, (steps,)."""


@dataclass(frozen=True)
class Design:
    """What is drawn and chosen before anything is measured."""

    partners: Ints
    """(problems, partners): whose reference answers each answer is held against besides its own."""
    main: int
    """Column of the layer that was fixed in advance."""
    kernel: Kernel
    """For standardised vectors."""
    permutations: int
    seed: int


def measure(states: Sequence[Array], references: Array, design: Design) -> list[Course]:
    """`states` has an array (layers, steps, width) for each answer, `references` the shape (answers, layers, width)."""
    stacked: list[list[tuple[Floats, Floats, Floats]]] = [[] for _ in states]
    main: list[tuple[Floats, Floats, Floats]] = []
    for column in range(references.shape[1]):
        raw = references[:, column].astype(np.float64)
        plain, scaled = factor(raw, PUBLISHED), factor(standardised(raw), design.kernel)
        for row, answer in enumerate(states):
            own, partners, shape = _dependence(answer[column], scaled[[row, *design.partners[row]]], design.kernel)
            stacked[row].append((own, partners.mean(axis=1), _raw(answer[column], plain[row : row + 1])))
            if column == design.main:
                rng = np.random.default_rng((design.seed, row))
                shuffled = _shuffled(answer[column], scaled[row], design, rng)
                main.append((partners, shuffled, _spread(shape, Shape.of(scaled[row : row + 1]))))
    return [
        Course(*_by_layer(layers), *details, largest(answer[design.main]))
        for answer, layers, details in zip(states, stacked, main, strict=True)
    ]


def _by_layer(layers: Sequence[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    own, others, published = zip(*layers, strict=True)
    return np.stack(own), np.stack(others), np.stack(published)


def finite(states: Array, id: str) -> Array:
    """The states along one answer. Raises DiagnosticError where one is NaN or infinite."""
    if not np.isfinite(states).all():
        raise DiagnosticError(
            f"the activations along the answer to {id!r} hold NaN or infinity; load the model in bfloat16 or float32, "
            "since float16 overflows, and check its weights"
        )
    return states


def standardised(x: NDArray[np.floating]) -> Floats:
    """Each vector (last axis) brought to mean 0 and variance 1 over its coordinates; a constant one becomes 0."""
    centred = x.astype(np.float64)
    centred -= centred.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))


def largest(x: NDArray[np.floating]) -> Floats:
    """Share of each vector's variance over coordinates that its largest coordinate holds, in [0, 1]."""
    return np.asarray((standardised(x) ** 2).max(axis=-1) / x.shape[-1])


def _raw(x: Array, reference: Floats) -> Floats:
    """The published value at each step."""
    return np.concatenate([dependence(psi, reference)[:, 0] for _, psi in factors(x, PUBLISHED)])


def _dependence(x: Array, references: Floats, kernel: Kernel) -> tuple[Floats, Floats, Shape]:
    """At each step: on the first reference (steps,), on the others (others, steps), and what chance depends on."""
    values, shapes = [], []
    for _, psi in factors(standardised(x), kernel):
        values.append(dependence(psi, references))
        shapes.append(Shape.of(psi))
    shape, targets = Shape.joined(shapes), Shape.of(references)
    table = np.concatenate(values).T
    above = np.stack([above_chance(row, shape, targets.row(number)) for number, row in enumerate(table)])
    return above[0], above[1:], shape


def _shuffled(x: Array, reference: Floats, design: Design, rng: np.random.Generator) -> Floats:
    """Dependence at each step on the reference with its coordinates in random order: (permutations, steps)."""
    orders = rng.permuted(np.tile(np.arange(x.shape[1]), (design.permutations, 1)), axis=1)
    target = Shape.of(reference[None])  # the same for every order
    found = np.empty((design.permutations, len(x)))
    for rows, psi in factors(standardised(x), design.kernel):
        shape = Shape.of(psi)
        for start in range(0, design.permutations, _ORDERS):
            some = slice(start, start + _ORDERS)
            values = dependence(psi, np.ascontiguousarray(reference[:, orders[some]].transpose(1, 0, 2)))
            found[some, rows] = [above_chance(column, shape, target) for column in values.T]
    return found


def _spread(x: Shape, reference: Shape) -> Floats:
    """Standard deviation over all orders of the coordinates, in the units of `above_chance`."""
    mean, spread = chance(x, reference)
    room = np.sqrt(x.square * reference.square) - mean
    return np.divide(spread, room, out=np.zeros_like(spread), where=room > 1e-12)
