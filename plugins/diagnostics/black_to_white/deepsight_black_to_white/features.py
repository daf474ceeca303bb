"""Three rungs of knowledge about a prompt: its text, what the model is about to say, and the model's states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_probing import Kernel, bag_of_characters, bag_of_words, side_by_side, standardised
from numpy.typing import ArrayLike, NDArray

from deepsight_black_to_white.questions import Question

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TEXT = (0.4, 0.4, 0.2)
"""Shares of words, characters and lengths in what is known of a text."""
STATES = (0.5, 0.9)
"""Shares of the states beside what is known otherwise; which of them is chosen inside the cross-validation, as is
whether to use the states at all."""


@dataclass(frozen=True)
class Ladder:
    """The features of one question's samples; each rung may use what is below it."""

    text: Kernel
    first_token: Kernel | None
    """Text and first-token log-odds; None where those are not known."""
    states: Mapping[int, tuple[Kernel, ...]]
    """By layer: the states beside the text, in each of the STATES shares; without the first token."""
    both: Mapping[int, tuple[Kernel, ...]]
    """The same beside text and first token; empty where that is not known."""


def ladder(
    question: Question,
    states: NDArray[np.floating],
    layers: Sequence[int],
    lengths: ArrayLike,
    log_odds: ArrayLike | None,
    answer_words: int,
) -> Ladder:
    """`states` has shape (samples, layers, width); `lengths` are tokens of the prompts, `log_odds` of an answer that
    begins as refusals do, shape (samples,); the first `answer_words` words of the answers count as text."""
    text = remembered(_text(question, lengths, answer_words))
    known = None if log_odds is None else standardised(np.asarray(log_odds, dtype=np.float64)[:, None])
    first_token = None if known is None else remembered(side_by_side([(text, 0.5), (known, 0.5)]))
    beside: dict[int, tuple[Kernel, ...]] = {}
    both: dict[int, tuple[Kernel, ...]] = {}
    for column, layer in enumerate(layers):
        inner = remembered(standardised(states[:, column]))
        beside[layer] = tuple(side_by_side([(text, 1 - share), (inner, share)]) for share in STATES)
        if first_token is not None:
            both[layer] = tuple(side_by_side([(first_token, 1 - share), (inner, share)]) for share in STATES)
    return Ladder(text, first_token, beside, both)


def remembered(kernel: Kernel) -> Kernel:
    """The same kernel, which computes the products of each training set once."""
    known: dict[bytes, Floats] = {}

    def kept(train: Ints) -> Floats:
        key = train.tobytes()
        if key not in known:
            known[key] = kernel(train)
        return known[key]

    return kept


def _text(question: Question, lengths: ArrayLike, answer_words: int) -> Kernel:
    sizes = np.column_stack([[len(text) for text in question.texts], np.asarray(lengths)]).astype(np.float64)
    features = (bag_of_words(question.texts), bag_of_characters(question.texts), standardised(np.log1p(sizes)))
    prompt = side_by_side(list(zip(features, TEXT, strict=True)))
    if not answer_words:
        return prompt
    opening = bag_of_words([" ".join(answer.split()[:answer_words]) for answer in question.answers])
    return side_by_side([(prompt, 0.5), (opening, 0.5)])
