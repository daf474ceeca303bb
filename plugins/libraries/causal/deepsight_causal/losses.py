"""What an edit costs: the loss on given answers, and how far the next token's distribution moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.edits import Edit
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Inside, Last, NextToken, Prompt, Steps, Want

Floats = NDArray[np.float64]

LOSS = Want(site="final", positions=Steps(), text="exchange", reduce=NextToken())
"""The log-probability of every token of the answer."""
LOGITS = Want(site="logits", positions=Last())
"""Of the answer's first token."""


def losses(inside: Inside, prompts: Sequence[Prompt], edits: Sequence[Edit] = ()) -> Floats:
    """Mean negative log-probability of the tokens of each prompt's answer, in nats a token: shape (prompts,).

    Raises DiagnosticError for a prompt without an answer.
    """
    for prompt in prompts:
        if not (prompt.answer or prompt.answer_tokens):
            raise DiagnosticError(f"prompt {prompt.id!r} has no answer whose loss could be measured")
    acts = inside.run([LOSS], prompts, edits)
    return np.array([-array.astype(np.float64).mean() for array in acts.each(LOSS)])


def next_token(inside: Inside, prompts: Sequence[Prompt], edits: Sequence[Edit] = ()) -> Floats:
    """Log-probability of every token as the first of the answer: shape (prompts, vocabulary)."""
    logits = inside.run([LOGITS], prompts, edits)[LOGITS][:, 0, 0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def divergence(before: ArrayLike, after: ArrayLike) -> Floats:
    """KL(before || after) in nats, row by row, from log-probabilities along the last axis."""
    log_p, log_q = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))
