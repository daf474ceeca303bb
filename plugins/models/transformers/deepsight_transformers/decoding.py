"""Decode many requests side by side: rows leave when they are finished and others take their places."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from deepsight_core import Generate, Ticket
from deepsight_transformers.network import Network
from deepsight_transformers.sampling import choose


@dataclass(eq=False)
class Row:
    """A request on its way to its answer."""

    ticket: Ticket
    request: Generate
    prompt: tuple[int, ...]
    limit: int
    """Most tokens to generate: what was asked for, or what the context leaves."""
    lead: str = ""
    """How the prompt's text ends; a template may have opened a block of reasoning there."""
    tokens: list[int] = field(default_factory=list)
    stop: Literal["stop", "length", "error"] | None = None
    error: str | None = None
    began: float = 0.0
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Back to the start; a request with a seed will say the same again."""
        self.tokens, self.stop, self._random = [], None, random.Random(self.request.seed)

    def draw(self) -> float:
        return self._random.random()

    @property
    def width(self) -> int:
        """Columns that it may come to need."""
        return len(self.prompt) + self.limit


@dataclass(frozen=True)
class Ending:
    """How an answer ends."""

    tokens: Collection[int]
    decode: Callable[[Sequence[int]], str]

    def extend(self, row: Row, token: int | None) -> None:
        """Add a token to a row and see whether it was the last one."""
        if token is None:
            row.stop, row.error = "error", "the model's logits are not finite; try dtype = 'float32'"
            return
        row.tokens.append(token)
        if token in self.tokens or (row.request.stop and self.cut(row) is not None):
            row.stop = "stop"
        elif len(row.tokens) >= row.limit:
            row.stop = "length"

    def cut(self, row: Row) -> str | None:
        """The row's text up to the first of its stop strings; None when none has occurred."""
        text = self.decode(row.tokens)
        found = [at for stop in row.request.stop if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None


class Flight:
    """Rows that are decoded together, padded before their own words so that they all write the same column."""

    def __init__(self, network: Network, ending: Ending) -> None:
        self.network, self.ending = network, ending
        self.rows: list[Row] = []
        self.cache: Any = None
        self.mask: Tensor = torch.zeros(0, 0)

    @torch.inference_mode()
    def begin(self, rows: Sequence[Row], shared: int = 0) -> list[Row]:
        """Read the prompts (`shared`: `Network.read`) and give each row its first token. Returns those it finishes."""
        now = time.perf_counter()
        for row in rows:
            row.began = now
        self.rows = list(rows)
        prefix = self.network.read([row.prompt for row in rows], shared)
        self.cache, self.mask = prefix.cache, prefix.mask
        return self._extend(prefix.logits)

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Give each row one more token. Returns the rows that are finished by that; they leave."""
        ids = torch.tensor([[row.tokens[-1]] for row in self.rows])
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        return self._extend(self.network(ids, self.mask, self.cache, last=1)[:, -1])

    @torch.inference_mode()
    def join(self, other: Flight) -> None:
        """Take over the rows of another flight; the network must be joinable."""
        width = max(self.mask.shape[1], other.mask.shape[1])
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            if mine.is_initialized:  # layers that share another layer's keys hold none
                mine.keys = torch.cat([_widen(mine.keys, width), _widen(theirs.keys, width)])
                mine.values = torch.cat([_widen(mine.values, width), _widen(theirs.values, width)])
        masks = (pad(mask, (width - mask.shape[1], 0)) for mask in (self.mask, other.mask))
        self.mask = torch.cat(list(masks))
        self.rows += other.rows
        other.rows = []

    def _extend(self, logits: Tensor) -> list[Row]:
        for row, token in zip(self.rows, choose(logits, self.rows), strict=True):
            self.ending.extend(row, token)
        finished = [row for row in self.rows if row.stop]
        if finished:
            self._keep([n for n, row in enumerate(self.rows) if not row.stop])
        return finished

    def _keep(self, places: Sequence[int]) -> None:
        """Drop the other rows, and the columns on the left that then hold nothing but padding."""
        index = torch.tensor(places, dtype=torch.long, device=self.mask.device)
        self.cache.reorder_cache(index)
        self.mask = self.mask[index]
        surplus = int(self.mask.any(0).int().argmax()) if places and self.network.joinable else 0
        if surplus:
            self.mask = self.mask[:, surplus:]
            for layer in self.cache.layers:
                if layer.is_initialized:
                    layer.keys, layer.values = layer.keys[..., surplus:, :], layer.values[..., surplus:, :]
        self.rows = [self.rows[place] for place in places]  # last: whoever runs out of memory above starts again


def _widen(states: Tensor, width: int) -> Tensor:
    """Pad (rows, heads, columns, size) on the left to `width` columns."""
    return pad(states, (0, 0, width - states.shape[-2], 0))
