"""The words of a text as features: what a probe of activations must beat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deepsight_probing.ridge import Kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+")
"""A word; in Chinese and Japanese, which write no spaces, a character."""


def bag_of_words(texts: Sequence[str]) -> Kernel:
    """Inner products of TF-IDF vectors of words and pairs of neighbouring words, lower case, unit length.

    Document frequencies come from the training rows alone. A term that occurs in one text only can never help on
    another and is left out.
    """
    return _bag(texts, _words)


def bag_of_characters(texts: Sequence[str]) -> Kernel:
    """The same of three and of four characters in a row: parts of words, endings, punctuation."""
    return _bag(texts, _characters)


def _bag(texts: Sequence[str], terms: Callable[[str], list[str]]) -> Kernel:
    counts = [Counter(terms(text)) for text in texts]
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


def _words(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def _characters(text: str) -> list[str]:
    line = f" {' '.join(text.lower().split())} "
    return [line[start : start + length] for length in (3, 4) for start in range(len(line) - length + 1)]
