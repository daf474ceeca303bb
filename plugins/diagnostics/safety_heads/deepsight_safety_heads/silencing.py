"""Silence heads and read the end of the prompt again: refusal score, distribution of the next token, last state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from deepsight_causal import RefusalTokens, divergence, refusal_scores
from numpy.typing import NDArray

from deepsight_core.edits import Edit, Scale
from deepsight_core.inside import Acts, Inside, Last, Prompt, Want

Floats = NDArray[np.float64]

NUMBERS = 1 << 25
"""Logits that are asked for at a time."""
LOGITS = Want(site="logits", positions=Last())
STATE = Want(site="final", positions=Last())


class Head(NamedTuple):
    layer: int
    head: int

    def __str__(self) -> str:
        return f"head {self.head} of block {self.layer}"


Towards = Mapping[int, Floats]
"""What the heads of a layer become where they are silenced, (heads * head width,); none for 0."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Prompts under one set of silenced heads, by prompt."""

    score: Floats
    """Refusal scores."""
    divergence: Floats
    """KL in nats of the next token's distribution, from that of the model as it is; Ships (Zhou et al. 2024)."""
    states: Floats
    """(prompts, width): what follows the final norm at the last token."""


def silenced(
    inside: Inside,
    tokens: RefusalTokens,
    prompts: Sequence[Prompt],
    sets: Sequence[Sequence[Head]],
    towards: Towards,
) -> list[Reading]:
    """Every prompt under every set of heads; sets are rows of one batch, which starts at their lowest layer."""
    size = max(1, NUMBERS // (inside.geometry.vocabulary * max(1, len(sets))))
    parts: list[list[Reading]] = [[] for _ in sets]
    for start in range(0, len(prompts), size):
        chunk = prompts[start : start + size]
        before = _log_probabilities(inside.run([LOGITS], chunk))
        rows = [
            prompt.model_copy(update={"id": f"{prompt.id}/{number}"}) for number in range(len(sets)) for prompt in chunk
        ]
        owners = [heads for heads in sets for _ in chunk]
        edits = silencing({row.id: heads for row, heads in zip(rows, owners, strict=True)}, towards)
        acts = inside.run([LOGITS, STATE], rows, edits)
        after, states = _log_probabilities(acts), acts[STATE][:, 0, 0].astype(np.float64)
        for number, part in enumerate(parts):
            own = slice(number * len(chunk), (number + 1) * len(chunk))
            scores = refusal_scores(after[own][:, list(tokens.ids)])
            part.append(Reading(scores, divergence(before, after[own]), states[own]))
    return [
        Reading(
            np.concatenate([one.score for one in part]),
            np.concatenate([one.divergence for one in part]),
            np.concatenate([one.states for one in part]),
        )
        for part in parts
    ]


def by_layer(
    inside: Inside, tokens: RefusalTokens, prompts: Sequence[Prompt], heads: Sequence[Head], towards: Towards
) -> dict[Head, Reading]:
    """Every head by itself, layer by layer."""
    found: dict[Head, Reading] = {}
    for layer in sorted({head.layer for head in heads}):
        own = [head for head in heads if head.layer == layer]
        found.update(zip(own, silenced(inside, tokens, prompts, [[head] for head in own], towards), strict=True))
    return found


def silencing(sets: Mapping[str, Sequence[Head]], towards: Towards) -> tuple[Edit, ...]:
    """The edits that silence, for each prompt id, its set of heads."""
    layers = sorted({head.layer for heads in sets.values() for head in heads})
    return tuple(
        Scale(
            0.0,
            layers=(layer,),
            units={
                id: tuple(head.head for head in heads if head.layer == layer)
                for id, heads in sets.items()
                if any(head.layer == layer for head in heads)
            },
            towards=towards.get(layer),
        )
        for layer in layers
    )


def for_all(heads: Sequence[Head], towards: Towards) -> tuple[Edit, ...]:
    """The edits that silence a set of heads for whatever is read."""
    return tuple(
        Scale(
            0.0,
            layers=(layer,),
            units=tuple(head.head for head in heads if head.layer == layer),
            towards=towards.get(layer),
        )
        for layer in sorted({head.layer for head in heads})
    )


def _log_probabilities(acts: Acts) -> Floats:
    logits = acts[LOGITS][:, 0, 0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
