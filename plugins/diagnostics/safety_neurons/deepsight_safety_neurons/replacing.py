"""Refusal scores when chosen neurons are given what the reference has in them, or what harmless prompts have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from deepsight_causal import RefusalTokens, scores
from numpy.typing import NDArray

from deepsight_core.edits import Edit, Patch
from deepsight_core.inside import All, Inside, Prompt, Want
from deepsight_safety_neurons.scores import Scores

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
"""Shape (layers, neurons)."""
Editor = Callable[[Sequence[Prompt], Mask], tuple[Edit, ...]]
"""The edit that puts chosen neurons to the test."""
AT_ONCE = 8
"""Prompts at a time: a patch holds all neurons at all tokens of each."""


def replaced(inside: Inside, editor: Editor, prompts: Sequence[Prompt], tokens: RefusalTokens, mask: Mask) -> Floats:
    """The refusal score of each prompt with these neurons replaced: shape (prompts,)."""
    found = []
    for start in range(0, len(prompts), AT_ONCE):
        some = prompts[start : start + AT_ONCE]
        found.append(scores(inside, some, tokens, editor(some, mask)))
    return np.concatenate(found)


class FromReference:
    """Patches in the activations that the reference has on the same prompt, at every token of it (Chen et al. 2024,
    section 3.2, in the other direction: the reference's into the target)."""

    def __init__(self, reference: Inside) -> None:
        self.reference = reference
        self._seen: dict[str, tuple[tuple[int | None, ...], NDArray[np.float32]]] = {}

    def __call__(self, prompts: Sequence[Prompt], mask: Mask) -> tuple[Edit, ...]:
        want = Want(site="neuron", positions=All())
        if fresh := [prompt for prompt in prompts if prompt.id not in self._seen]:
            self._seen = dict(list(self._seen.items())[:AT_ONCE])  # those that random neurons are replaced on
            with self.reference.edited(()):
                acts = self.reference.run([want], fresh)
            self._seen |= {
                prompt.id: (acts.layers[want], array) for prompt, array in zip(fresh, acts.each(want), strict=True)
            }
        layers = self._seen[prompts[0].id][0]
        return tuple(
            Patch(
                {prompt.id: self._seen[prompt.id][1][row : row + 1] for prompt in prompts},
                site="neuron",
                layers=(layer,),
                positions=All(),
                units=tuple(np.flatnonzero(mask[row]).tolist()),
            )
            for row, layer in enumerate(layers)
            if layer is not None and mask[row].any()
        )


class ToMeans:
    """Puts in the mean over negative prompts, at the prompt's last token, where it was measured."""

    def __init__(self, found: Scores) -> None:
        self.found = found

    def __call__(self, prompts: Sequence[Prompt], mask: Mask) -> tuple[Edit, ...]:
        return tuple(
            Patch(
                {prompt.id: self.found.means[row][None, None] for prompt in prompts},
                site="neuron",
                layers=(layer,),
                units=tuple(np.flatnonzero(mask[row]).tolist()),
            )
            for row, layer in enumerate(self.found.layers)
            if mask[row].any()
        )
