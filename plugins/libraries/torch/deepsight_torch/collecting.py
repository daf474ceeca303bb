"""Gather what is wanted from one forward pass: the vectors at the wanted places, reduced where they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Array, NextToken
from deepsight_torch.reduction import reduced
from deepsight_torch.sites import Sites
from deepsight_torch.streams import ATTENTION, Row, Stream


class Enough(BaseException):
    """Raised when the deepest wanted site was seen. Not an Exception, so that no model catches it."""


class Collector:
    """While open, gathers what the streams want of some rows from the next forward pass of one batch.

    `rows` are the wanted texts and `members` their places in a batch of texts with `lengths` tokens. `left` is the
    padding's side; the first `skipped` tokens of every text were read before and are not in the batch. With `leave`,
    the pass ends at the last wanted site. Only passes of the thread that opened it count: others may use the model at
    the same time.
    """

    def __init__(
        self,
        sites: Sites,
        streams: Sequence[Stream],
        rows: Sequence[Row],
        members: Sequence[int],
        lengths: Sequence[int],
        left: bool = False,
        skipped: int = 0,
        leave: bool = True,
    ) -> None:
        self.sites, self.streams = sites, streams
        self.rows, self.members = rows, list(members)
        self.left, self.skipped, self.leave = left, skipped, leave
        self.batch, self.longest = len(lengths), max(lengths) - skipped
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._indices: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}
        self.missing = {(s.site, layer) for s in streams for layer in s.layers}
        self._thread = threading.get_ident()
        self._stack = ExitStack()

    def __enter__(self) -> Collector:
        users: dict[tuple[str, int | None], list[tuple[int, int]]] = {}
        for number, stream in enumerate(self.streams):
            for column, layer in enumerate(stream.layers):
                users.setdefault((stream.site, layer), []).append((number, column))
        for place, slots in users.items():
            self._stack.callback(self.sites.tap(*place).register(self._hook(place, slots)).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def complete(self) -> bool:
        return not self.missing

    def results(self) -> Iterator[tuple[Row, list[Array]]]:
        """Each row with its arrays. Raises DiagnosticError when something passed that is not a finite number."""
        parts = []
        for number, stream in enumerate(self.streams):
            columns = [self._kept.pop((number, column)) for column in range(len(stream.layers))]
            array = torch.stack([column.to(columns[-1].device) for column in columns]).cpu().numpy()
            counts = [stream.count(row.places[number]) for row in self.rows]
            _check_finite(array, stream, self.rows, counts)
            parts.append(np.split(array, np.cumsum(counts)[:-1], axis=1))
        for place, row in enumerate(self.rows):
            yield row, [part[place] for part in parts]

    def _hook(self, place: tuple[str, int | None], slots: Sequence[tuple[int, int]]) -> Callable[[Tensor], None]:
        scale = self.sites.tap(*place).scale

        def hook(tensor: Tensor) -> None:
            shape = self._whole(place, tensor)
            if shape is None:
                return
            hidden = tensor.detach().reshape(*shape, -1)
            for number, column in slots if self.rows else ():
                self._kept[number, column] = self._gather(hidden, number, scale)
            self.missing.discard(place)
            if self.leave and not self.missing:
                raise Enough

        return hook

    def _whole(self, place: tuple[str, int | None], tensor: Tensor) -> tuple[int, int] | None:
        """Rows and tokens, when this is the whole of the batch at a place where it was not yet seen; None for a part, a
        chunk, a step of decoding, or another thread's pass."""
        if place not in self.missing or threading.get_ident() != self._thread:
            return None
        # Some families lay the batch out as one row of tokens inside a block.
        rows, tokens = tensor.shape[:2] if tensor.ndim == 3 else (self.batch, tensor.shape[0] // self.batch)
        return (rows, tokens) if rows == self.batch and tokens >= self.longest else None

    def _gather(self, hidden: Tensor, number: int, scale: float) -> Tensor:
        """(positions of all rows, width) in float32, reduced, on the activations' device."""
        stream = self.streams[number]
        members, columns = self._index(number, hidden.shape[1], hidden.device)
        vectors = hidden[members, columns].float() * scale
        if stream.site == ATTENTION:
            vectors = _same_keys(vectors, self.sites.heads, stream.vectors)
        counts = [len(row.places[number]) for row in self.rows]
        follows = isinstance(stream.want.reduce, NextToken)
        decided = [row.ids[place + 1] for row in self.rows for place in row.places[number]] if follows else []
        return reduced(vectors, stream.want, self.sites, counts, stream.projection, decided)

    def _index(self, number: int, tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Place in the batch and column of every wanted vector, row by row; moved to a device once, not for every
        layer."""
        key = (number, device)
        if key not in self._indices:
            members, columns = [], []
            for member, row in zip(self.members, self.rows, strict=True):
                by = tokens - len(row.ids) if self.left else -self.skipped
                members += [member] * len(row.places[number])
                columns += [place + by for place in row.places[number]]
            self._indices[key] = torch.tensor(members, device=device), torch.tensor(columns, device=device)
        return self._indices[key]


def _same_keys(weights: Tensor, heads: int, width: int) -> Tensor:
    """Attention weights (vectors, heads * columns of the pass) as (vectors, width), the same number of keys a head. A
    column that is cut off is padding, which nobody attends to."""
    split = weights.reshape(len(weights), heads, weights.shape[1] // heads)
    keys = width // heads
    return pad(split, (0, max(0, keys - split.shape[2])))[:, :, :keys].flatten(1)


def _check_finite(array: Array, stream: Stream, rows: Sequence[Row], counts: Sequence[int]) -> None:
    """Raises DiagnosticError that names the place, when something of (layers, positions, width) is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):  # most of the time; costs no memory
            return
    bad = np.argwhere(~np.isfinite(array).all(axis=2))
    if len(bad):
        column, position = bad[np.argmin(bad[:, 1])]
        row = int(np.searchsorted(np.cumsum(counts), position, side="right"))
        layer = stream.layers[column]
        where = stream.want.site + ("" if layer is None else f"[{layer}]")
        raise DiagnosticError(
            f"{where} holds NaN or infinity for prompt {rows[row].id!r}: open the model in a wider dtype (float32)"
        )
