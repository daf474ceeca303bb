"""A score for every neuron: how far two models differ in it on the same answers, or how far one model tells two classes
of prompts apart by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import ClassMoments, Inside, Last, Prompt, Steps, Want

Floats = NDArray[np.float64]

AT_ONCE = 4
"""Prompts whose activations are held at a time: all tokens of all neurons of two models."""
SIDE = "side"


@dataclass(frozen=True, eq=False)
class Scores:
    """Of every neuron; arrays of shape (layers, neurons)."""

    layers: tuple[int, ...]
    """Blocks that have neurons."""
    values: Floats
    """What neurons are ranked by."""
    relative: Floats
    """By layer, free of scale: shape (layers,)."""
    count: int
    """Prompts that they rest on."""
    means: Floats
    """What neurons are set to for control: of negative prompts, (layers, neurons); empty with a second model."""


def changes(inside: Inside, other: Inside, prompts: Sequence[Prompt], tokens: int) -> Scores:
    """Root mean square of the difference between the two models, over the first `tokens` places at which the prompts'
    answers were decided, both models reading the same tokens: Chen et al. 2024, arXiv:2406.14144, eq. 3.

    `relative` is the same over all neurons of a layer, in root mean squares of the two models' activations there.
    Sums are accumulated over a few prompts at a time, and activations are not kept. Raises DiagnosticError where the
    models differ in shape.
    """
    one, two = inside.geometry, other.geometry
    if (one.layers, one.neurons) != (two.layers, two.neurons):
        raise DiagnosticError(
            f"the reference has {two.layers} layers of {two.neurons} neurons, the target {one.layers} of "
            f"{one.neurons}: neuron by neuron, only two versions of one model compare"
        )
    want = Want(site="neuron", positions=Steps(stop=tokens), text="exchange")
    shape = (0, 0)
    squared = size = np.zeros(shape)
    seen = 0
    layers: tuple[int, ...] = ()
    for start in range(0, len(prompts), AT_ONCE):
        some = prompts[start : start + AT_ONCE]
        with inside.edited(()), other.edited(()):  # what is read under edits, even none, is not kept
            mine, theirs = inside.run([want], some), other.run([want], some)
        layers = tuple(layer for layer in mine.layers[want] if layer is not None)
        for a, b in zip(mine.each(want), theirs.each(want), strict=True):
            a, b = a.astype(np.float64), b.astype(np.float64)
            if a.shape != b.shape:
                raise DiagnosticError(
                    "the reference reads an answer as another number of tokens: the two models need one tokenizer"
                )
            seen += a.shape[1]
            squared = ((a - b) ** 2).sum(axis=1) + (squared if squared.size else 0)
            size = ((a**2 + b**2) / 2).sum(axis=1) + (size if size.size else 0)
    total = size.sum(axis=1)
    ratio = np.divide(squared.sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    return Scores(layers, np.sqrt(squared / max(seen, 1)), np.sqrt(ratio), len(prompts), np.empty(shape))


def contrasts(inside: Inside, positive: Sequence[Prompt], negative: Sequence[Prompt]) -> Scores:
    """|mean of positive - mean of negative| / pooled standard deviation at the prompt's last token, streamed as
    moments. Neurons that never vary score 0. `relative` is the root mean square of a layer's scores."""
    want = Want(site="neuron", positions=Last(), collect=ClassMoments(by=SIDE))
    labelled = [
        prompt.model_copy(update={"labels": {SIDE: side}})
        for side, prompts in (("1", positive), ("0", negative))
        for prompt in prompts
    ]
    acts = inside.run([want], labelled)
    found = acts.moments[want]
    where = {name: number for number, name in enumerate(found.classes)}
    (mean, other), (variance, further) = (
        (array[where["1"]][:, 0], array[where["0"]][:, 0]) for array in (found.means, found.variances)
    )
    counts = found.counts[[where["1"], where["0"]]]
    pooled = np.sqrt((counts[0] * variance + counts[1] * further) / (counts.sum() - 2))
    values = np.divide(np.abs(mean - other), pooled, out=np.zeros_like(pooled), where=pooled > 1e-12)
    layers = tuple(layer for layer in acts.layers[want] if layer is not None)
    return Scores(layers, values, np.sqrt((values**2).mean(axis=1)), int(counts.sum()), other)


def top(values: Floats, share: float) -> NDArray[np.bool_]:
    """The share of all neurons with the highest scores, at least one; ties in favour of earlier layers."""
    count = max(1, round(share * values.size))
    chosen = np.zeros(values.size, dtype=bool)
    chosen[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return chosen.reshape(values.shape)


def like(chosen: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """As many other neurons of every layer, at random; where most of a layer is chosen, some of them again."""
    drawn = np.zeros_like(chosen)
    for row, mine in zip(drawn, chosen, strict=True):
        count = int(mine.sum())
        order = rng.permutation(len(mine))
        row[order[np.argsort(mine[order], kind="stable")][:count]] = True
    return drawn


def enrichment(chosen: NDArray[np.bool_], draws: int, seed: int) -> tuple[Floats, Floats]:
    """How many times as many of the chosen neurons lie in each layer as would by chance, (layers,), and the same for
    neurons that are exchanged between all layers, (layers, draws)."""
    counts, size = chosen.sum(axis=1), chosen.shape[1]
    total = int(counts.sum())
    expected = total / len(counts)
    drawn = np.random.default_rng(seed).multivariate_hypergeometric([size] * len(counts), total, size=draws)
    return np.asarray(counts / expected), np.asarray(drawn.T / expected)
