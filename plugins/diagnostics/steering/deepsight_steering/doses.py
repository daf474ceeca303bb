"""Prompts under many doses at once: each prompt and dose is a row of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens, addition, losses, scores
from numpy.typing import NDArray

from deepsight_core.edits import Edit
from deepsight_core.inside import Inside, Prompt, Written
from deepsight_steering.curves import repeated

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ladder:
    """A vector that is added to what enters one block, in several doses."""

    vector: Floats
    layer: int
    doses: tuple[float, ...]
    """Ascending, with 0; in units of the vector."""

    @property
    def zero(self) -> int:
        return self.doses.index(0.0)

    def rows(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], tuple[Edit, ...]]:
        """Every prompt under every dose, dose by dose within a prompt, and the edit that gives them."""
        named = {f"{prompt.id} x {dose:g}": (prompt, dose) for prompt in prompts for dose in self.doses}
        given = [prompt.model_copy(update={"id": id}) for id, (prompt, _) in named.items()]
        return given, addition(self.vector, self.layer, {id: dose for id, (_, dose) in named.items()})

    def along(self, vector: Floats) -> Ladder:
        """The same doses of another vector."""
        return Ladder(vector, self.layer, self.doses)

    def scores(self, inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens) -> Floats:
        """Refusal scores, shape (prompts, doses)."""
        given, edits = self.rows(prompts)
        return scores(inside, given, tokens, edits).reshape(len(prompts), len(self.doses))

    def losses(self, inside: Inside, prompts: Sequence[Prompt]) -> Floats:
        """Loss on the prompts' own answers, in nats a token, shape (prompts, doses)."""
        given, edits = self.rows(prompts)
        return losses(inside, given, edits).reshape(len(prompts), len(self.doses))

    def answers(self, inside: Inside, prompts: Sequence[Prompt], tokens: int) -> list[list[Written]]:
        """Greedy answers, by prompt and dose."""
        given, edits = self.rows(prompts)
        written = inside.generate(given, tokens, edits)
        wide = len(self.doses)
        return [list(written[start : start + wide]) for start in range(0, len(written), wide)]


def strangeness(inside: Inside, prompts: Sequence[Prompt], written: Sequence[Sequence[Written]]) -> Floats:
    """How unlikely the unedited model finds answers that were written under edits: loss in nats a token, by prompt and
    answer; NaN for an answer without a word."""
    found = np.full((len(written), len(written[0]) if written else 0), np.nan)
    places, given = [], []
    for row, (prompt, answers) in enumerate(zip(prompts, written, strict=True)):
        for column, one in enumerate(answers):
            if one.tokens and one.text.strip():
                places.append((row, column))
                given.append(
                    prompt.model_copy(
                        update={"id": f"{prompt.id} {column}", "answer": one.text, "answer_tokens": one.tokens}
                    )
                )
    if given:
        found[tuple(np.array(places).T)] = losses(inside, given)
    return found


@dataclass(frozen=True, eq=False)
class Wear:
    """What becomes of greedy answers under each dose."""

    loss: Floats
    """Under the unedited model, nats a token: shape (samples, doses); NaN for an answer without a word."""
    repeated: Floats
    """Share of three-token sequences that were there before: shape (samples, doses)."""


def degeneration(inside: Inside, ladder: Ladder, prompts: Sequence[Prompt], tokens: int) -> Wear:
    """Writes answers of at most so many tokens under every dose, and reads them without an edit."""
    written = ladder.answers(inside, prompts, tokens)
    return Wear(
        strangeness(inside, prompts, written),
        np.array([[repeated(one.tokens) for one in row] for row in written], dtype=np.float64),
    )
