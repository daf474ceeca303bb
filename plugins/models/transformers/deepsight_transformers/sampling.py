"""Choose each row's next token from its logits, greedily or at random, independently of the other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepsight_core import Generate

_BELOW_ONE = 1 - 2**-23  # the largest draw that float32 keeps below 1


class Chooser(Protocol):
    request: Generate

    def draw(self) -> float:
        """The row's next number from [0, 1)."""


def choose(logits: Tensor, rows: Sequence[Chooser]) -> list[int | None]:
    """The next token of each row; None for a row whose logits are not finite.

    `logits` is (rows, vocabulary) in float32. A sampled row turns one number of its own random sequence into a token
    (inverse of the cumulative distribution), so that what it says does not depend on the rows beside it.
    """
    best, tokens = logits.max(-1)
    sampled = [n for n, row in enumerate(rows) if row.request.temperature > 0]
    if sampled:
        heat = torch.tensor([rows[n].request.temperature for n in sampled], device=logits.device)
        probabilities = (logits[sampled] / heat[:, None]).softmax(-1)
        nucleus = [place for place, n in enumerate(sampled) if rows[n].request.top_p < 1]
        if nucleus:
            mass = torch.tensor([rows[sampled[place]].request.top_p for place in nucleus], device=logits.device)
            probabilities[nucleus] = _nucleus(probabilities[nucleus], mass)
        cumulative = probabilities.cumsum(-1)
        draws = torch.tensor([min(rows[n].draw(), _BELOW_ONE) for n in sampled], device=logits.device)
        picked = torch.searchsorted(cumulative, draws[:, None] * cumulative[:, -1:], right=True)[:, 0]
        tokens[sampled] = picked.clamp(max=logits.shape[-1] - 1)
    return [token if fine else None for token, fine in zip(tokens.tolist(), best.isfinite().tolist(), strict=True)]


def _nucleus(probabilities: Tensor, mass: Tensor) -> Tensor:
    """Zero all but the smallest set of tokens that holds `mass` (Holtzman et al. 2020, arXiv:1904.09751)."""
    ordered, order = probabilities.sort(-1, descending=True)
    ordered[ordered.cumsum(-1) - ordered >= mass[:, None]] = 0
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered)
