"""What the lens shows of each sample: refusal log-odds by layer, when they come and go, and how sure each layer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens
from numpy.typing import NDArray

from deepsight_core.inside import Inside, Last, Lens, Prompt, Steps, TopK, Want

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """At the last token of each prompt, by layer."""

    layers: tuple[int, ...]
    odds: Floats
    """(prompts, layers): log-odds that the answer would open with a refusal token, natural logarithm."""
    mass: Floats
    """(prompts, layers): the probability of the refusal tokens, 0 to 1."""


@dataclass(frozen=True)
class Candidates:
    """The likeliest tokens of each layer, of some prompts."""

    rank: Floats
    """(prompts, layers): place of the best refusal token, from 1; k + 1 where it is not among the k likeliest."""
    entropy: Floats
    """(prompts, layers): the least entropy that the k likeliest tokens allow, in nats."""


def seen(log_probabilities: NDArray[np.floating], layers: Sequence[int | None]) -> Seen:
    """From the log-probabilities of the refusal tokens, (prompts, layers, tokens)."""
    odds, mass = log_odds(log_probabilities)
    return Seen(tuple(layer or 0 for layer in layers), odds, mass)


def log_odds(log_probabilities: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """log P - log(1 - P) and P, the sum of the probabilities along the last axis. Unlike the refusal score, which is
    made to stay above -18.4, it is exact for the tiny probabilities of early layers; 1 - P is at least 1e-8."""
    values = np.asarray(log_probabilities, dtype=np.float64)
    log_mass = np.logaddexp.reduce(values, axis=-1)
    mass = np.minimum(np.exp(log_mass), 1.0)
    return np.asarray(log_mass - np.log(np.maximum(1 - mass, 1e-8))), np.asarray(mass)


def wanted(tokens: RefusalTokens) -> Want:
    return Want(site="resid_out", positions=Last(), reduce=Lens(tokens=tokens.ids))


def read(inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens) -> Seen:
    want = wanted(tokens)
    acts = inside.run([want], prompts)
    return seen(acts[want][:, :, 0], acts.layers[want])


def candidates(inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens, k: int) -> Candidates:
    want = Want(site="resid_out", positions=Last(), reduce=TopK(k=k))
    array = inside.run([want], prompts)[want][:, :, 0].astype(np.float64)
    logs, ids = array[..., :k], array[..., k:].astype(np.int64)
    refusing = np.isin(ids, tokens.ids)
    rank = np.where(refusing.any(axis=-1), refusing.argmax(axis=-1), k) + 1.0
    return Candidates(rank, least_entropy(logs))


def least_entropy(log_probabilities: Floats) -> Floats:
    """Entropy in nats, over the last axis, if all that is not among the given tokens were one token more: no
    distribution that holds these probabilities has less."""
    p = np.exp(log_probabilities)
    rest = np.clip(1 - p.sum(axis=-1), 1e-12, 1)
    return np.asarray(-(p * log_probabilities).sum(axis=-1) - rest * np.log(rest))


def by_step(inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens, steps: int) -> Floats:
    """Refusal log-odds (prompts, steps, layers) where each of the answer's first tokens was decided; NaN after the end
    of a shorter answer."""
    want = Want(site="resid_out", positions=Steps(stop=steps), text="exchange", reduce=Lens(tokens=tokens.ids))
    acts = inside.run([want], prompts)
    out = np.full((len(prompts), steps, len(acts.layers[want])), np.nan)
    for row, array in enumerate(acts.each(want)):
        odds = log_odds(array)[0].T  # (steps, layers)
        out[row, : len(odds)] = odds
    return out


def first_from(holds: NDArray[np.bool_]) -> int | None:
    """The first place from which something holds to the end; None where it does not hold at the end."""
    if not holds[-1]:
        return None
    fails = np.flatnonzero(~holds)
    return int(fails[-1]) + 1 if len(fails) else 0


def course(mass: Floats, threshold: float) -> tuple[int | None, int | None]:
    """The columns at which the mass, by layer, first reaches the threshold, and at which it is gone for good; None for
    what does not happen."""
    above = mass >= threshold
    if not above.any():
        return None, None
    gone = first_from(~above)
    return int(above.argmax()), gone
