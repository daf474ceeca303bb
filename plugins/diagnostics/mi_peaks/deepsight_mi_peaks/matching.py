"""Is it about this answer? Each answer is held against other problems' reference answers as well as its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def choose_partners(clusters: Sequence[str], most: int) -> Ints:
    """For each problem the next `most` problems of other clusters, around the end: (problems, at most `most`).

    As many for each problem; none where all problems are of one cluster.
    """
    count = len(clusters)
    lists = []
    for row in range(count):
        later = [(row + step) % count for step in range(1, count)]
        lists.append([other for other in later if clusters[other] != clusters[row]])
    width = min([most, *(len(one) for one in lists)])
    return np.array([one[:width] for one in lists], dtype=np.int64).reshape(count, width)


def gains(own: Floats, others: Floats, partners: Ints) -> Floats:
    """What each answer has in common with its own reference answer beyond what either has with all: (problems,).

    `own` has shape (problems,), `others` (problems, partners). Some answers, and some reference answers, are near to
    everything: the values with others are fitted, by least squares, as a sum of one number for the answer and one for
    the reference answer, and what that sum makes of an answer and its own reference is taken off. A reference answer
    that nobody else was held against counts as average.
    """
    count, width = partners.shape
    design = np.zeros((count * width, 2 * count))
    pairs = np.arange(count * width)
    design[pairs, pairs // width] = 1
    design[pairs, count + partners.ravel()] = 1
    common = others.mean()
    effects = np.linalg.lstsq(design, others.ravel() - common, rcond=None)[0]
    return np.asarray(own - common - effects[:count] - effects[count:])
