"""What a model does without a window of its layers: refusal scores, the next token on neutral questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens, divergence, neutral_prompts, next_token, refusal_scores
from numpy.typing import NDArray

from deepsight_core.edits import Edit, Scale
from deepsight_core.inside import Inside, Prompt

Floats = NDArray[np.float64]
Window = tuple[int, ...]
"""Decoder blocks, one after the other."""

HARDLY = 0.1
"""Nats by which the next token may move without the model being another one (Arditi et al. 2024, appendix C)."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One row a prompt."""

    harmful: Floats
    """Refusal scores of the positive side under the edit."""
    harmless: Floats
    divergence: Floats
    """KL divergence, in nats, of the next token of neutral questions from what it is without the edit."""


class Bench:
    """Prompts of both sides, with neutral questions beside them, that are read in one pass under each edit."""

    def __init__(
        self,
        inside: Inside,
        asked: tuple[Sequence[Prompt], Sequence[Prompt]],
        tokens: RefusalTokens,
        neutral: int,
        factor: float,
    ) -> None:
        """`asked`: prompts of the positive and of the negative side."""
        self.inside, self.tokens, self.factor = inside, tokens, factor
        self.sizes = tuple(map(len, asked))
        self.prompts = [*asked[0], *asked[1], *neutral_prompts()[:neutral]]
        self._usual = next_token(inside, self.prompts)
        self.before = self._outcome(self._usual)

    def without(self, window: Window) -> Outcome:
        return self._outcome(next_token(self.inside, self.prompts, skipping(window, self.factor)))

    def _outcome(self, log_probabilities: Floats) -> Outcome:
        asked = sum(self.sizes)
        scores = refusal_scores(log_probabilities[:asked][:, list(self.tokens.ids)])
        moved = divergence(self._usual[asked:], log_probabilities[asked:])
        return Outcome(scores[: self.sizes[0]], scores[self.sizes[0] :], moved)


def skipping(window: Window, factor: float = 0.0) -> tuple[Edit, ...]:
    """What these blocks add to the residual stream is multiplied by the factor; 0 leaves them out."""
    return tuple(Scale(factor, site=site, layers=window) for site in ("attn_out", "mlp_out"))


def windows(layers: int, length: int) -> list[Window]:
    """All of that length."""
    return [tuple(range(start, start + length)) for start in range(layers - length + 1)]


@dataclass(frozen=True, eq=False)
class Tried:
    """A window and what the model does without it, as changes of means."""

    window: Window
    harmful: float
    harmless: float
    divergence: float


def tried(bench: Bench, window: Window) -> Tried:
    after = bench.without(window)
    return Tried(
        window,
        float((after.harmful - bench.before.harmful).mean()),
        float((after.harmless - bench.before.harmless).mean()),
        float(after.divergence.mean()),
    )


def choose(found: Sequence[Tried]) -> Tried:
    """Of the half of the windows that move neutral questions least, and all that hardly move them (HARDLY), the one
    without which harmful prompts' refusal score falls the most: without that bound, whatever breaks the model would be
    chosen."""
    bound = max(HARDLY, np.median([one.divergence for one in found]))
    return min((one for one in found if one.divergence <= bound), key=lambda one: one.harmful)
