"""What silencing each head would do to the refusal score, estimated from one forward and one backward pass a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import RefusalTokens
from numpy.typing import NDArray

from deepsight_core.inside import All, Inside, MeanTokens, Prompt, Want
from deepsight_safety_heads.silencing import Head, Towards, for_all

Floats = NDArray[np.float64]

CHUNK = 8
"""Prompts whose heads are held at all of their tokens at a time."""
EVERYWHERE = Want(site="head", positions=All())
MEAN = Want(site="head", positions=All(), reduce=MeanTokens())


def screen(
    inside: Inside,
    tokens: RefusalTokens,
    prompts: Sequence[Prompt],
    towards: Towards,
    without: Sequence[Head] = (),
) -> tuple[tuple[Head, ...], Floats]:
    """All heads, and estimated changes of the score, (prompts, heads): the sum over tokens of what a head would change
    by, times the gradient of the score. `without` are silenced already; theirs are 0."""
    edits, parts = for_all(without, towards), []
    heads: tuple[Head, ...] = ()
    for start in range(0, len(prompts), CHUNK):
        chunk = prompts[start : start + CHUNK]
        acts = inside.run([EVERYWHERE], chunk, edits)
        slopes = inside.gradients([EVERYWHERE], chunk, tokens.ids, edits).each(EVERYWHERE)
        layers = [layer or 0 for layer in acts.layers[EVERYWHERE]]
        count = inside.geometry.heads
        heads = tuple(Head(layer, head) for layer in layers for head in range(count))
        for x, slope in zip(acts.each(EVERYWHERE), slopes, strict=True):
            end = np.stack([towards.get(layer, np.zeros(x.shape[2])) for layer in layers])
            product = (end[:, None] - x) * slope.astype(np.float64)
            parts.append(product.sum(axis=1).reshape(len(layers), count, -1).sum(axis=2).ravel())
    estimates = np.stack(parts)
    estimates[:, [heads.index(head) for head in without]] = 0
    return heads, estimates


def mean_heads(inside: Inside, prompts: Sequence[Prompt]) -> Towards:
    """The mean of every head over the tokens of these prompts, by layer."""
    acts = inside.run([MEAN], prompts)
    means = acts[MEAN][:, :, 0].astype(np.float64).mean(axis=0)
    return {layer or 0: mean for layer, mean in zip(acts.layers[MEAN], means, strict=True)}
