"""What a probe must beat: the words of the prompt, its length, and a direction drawn by lot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deepsight_linear_probe.probe import Kernel
from deepsight_linear_probe.ranking import auroc_within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+")
"""A word; in Chinese and Japanese, which write no spaces, a character."""


def bag_of_words(texts: Sequence[str]) -> Kernel:
    """Inner products of TF-IDF vectors of words and pairs of neighbouring words, lower case, unit length.

    Document frequencies come from the training rows alone. A term that occurs in one text only can never help on
    another and is left out.
    """
    counts = [Counter(_terms(text)) for text in texts]
    spread = Counter(term for count in counts for term in count)
    column = {term: number for number, term in enumerate(sorted(term for term, n in spread.items() if n > 1))}
    table = np.zeros((len(texts), len(column)), dtype=np.float32)
    for row, count in enumerate(counts):
        for term, times in count.items():
            if term in column:
                table[row, column[term]] = times

    def kernel(train: Ints) -> Floats:
        frequency = (table[train] > 0).sum(axis=0)
        rarity = np.where(frequency > 0, np.log((1 + len(train)) / (1 + frequency)) + 1, 0)
        weighted = table * rarity
        norm = np.sqrt((weighted**2).sum(axis=1, keepdims=True))
        weighted = np.divide(weighted, norm, out=np.zeros_like(weighted), where=norm > 0)
        weighted -= weighted[train].mean(axis=0)
        return np.asarray(weighted @ weighted.T, dtype=np.float64)

    return kernel


def random_directions(x: NDArray[np.floating], y: Ints, count: int, seed: int) -> Floats:
    """AUROC of the projection on each of `count` Gaussian directions, turned so that it is at least 1/2.

    The sign is chosen with the labels in sight, as it would be by someone who picks a direction by its looks.
    """
    centred = x - x.mean(axis=0, dtype=np.float64)
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], count))
    labels = np.repeat(y[:, None], count, axis=1)
    values = auroc_within(centred @ directions, labels, np.zeros_like(y))
    return np.maximum(values, 1 - values)


def _terms(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]
