"""Which tokens are peaks more often than their frequency in the answers would have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import familywise_p
from deepsight_mi_peaks.peaks import Flags

Floats = NDArray[np.float64]

PRIOR = 10.0
"""Tokens that the prior weighs as much as: the larger, the more evidence a rare token needs."""
Z = 1.959964


@dataclass(frozen=True)
class Enriched:
    """One token, ignoring case and the space before it."""

    word: str
    peaks: int
    count: int
    """Occurrences in the answers, peaks included."""
    log_odds: float
    """Of being at a peak rather than elsewhere, against all tokens, shrunk towards 0."""
    low: float
    high: float
    p: float
    """Corrected for all the tokens looked at."""


def enriched(
    words: Sequence[Sequence[str]], flags: Sequence[Flags], shifts: int, seed: int, least: int = 2
) -> list[Enriched]:
    """Tokens that are a peak at least once and occur at least `least` times, the most enriched first.

    Log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, eq. 15, 16, 22), here
    the tokens' shares in all answers. p: each answer's peaks are moved on by a random number of steps, around its end,
    which keeps their number and their runs; the share of moves in which any token is as enriched as this one.
    """
    plain = [[word.strip().casefold() for word in answer] for answer in words]
    names = sorted({word for answer in plain for word in answer})
    number = {word: place for place, word in enumerate(names)}
    which = np.array([number[word] for answer in plain for word in answer], dtype=np.int64)
    flat = np.concatenate(flags) if flags else np.zeros(0, dtype=bool)
    if not flat.any():
        return []
    counts = np.bincount(which, minlength=len(names)).astype(np.float64)
    kept = [place for place, name in enumerate(names) if counts[place] >= least and any(map(str.isalnum, name))]
    if not kept:
        return []
    hits = _hits(which, flat, len(names))
    log_odds, spread = _log_odds(hits, counts)
    rng = np.random.default_rng(seed)
    null = np.empty((len(kept), shifts))
    for draw in range(shifts):
        moved = np.concatenate([np.roll(one, rng.integers(len(one))) for one in flags if len(one)])
        value, width = _log_odds(_hits(which, moved, len(names)), counts)
        null[:, draw] = (value / width)[kept]
    p = familywise_p((log_odds / spread)[kept], null)
    found = [
        Enriched(
            names[place],
            int(hits[place]),
            int(counts[place]),
            float(log_odds[place]),
            float(log_odds[place] - Z * spread[place]),
            float(log_odds[place] + Z * spread[place]),
            float(chance),
        )
        for place, chance in zip(kept, p, strict=True)
        if hits[place]
    ]
    return sorted(found, key=lambda one: (one.p, -one.log_odds, one.word))


def _hits(which: NDArray[np.int64], flags: Flags, size: int) -> Floats:
    return np.bincount(which[flags], minlength=size).astype(np.float64)


def _log_odds(hits: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Difference of the log-odds of each token at peaks and elsewhere, and its standard deviation."""
    prior = PRIOR * counts / counts.sum()
    odds, variance = [], []
    for part in (hits, counts - hits):
        mine = part + prior
        odds.append(np.log(mine / np.maximum(part.sum() + PRIOR - mine, 1e-9)))
        variance.append(1 / mine)
    return odds[0] - odds[1], np.sqrt(variance[0] + variance[1])
