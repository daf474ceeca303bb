"""Read texts through a decoder and keep what is wanted of them: batched, exact, and no further than needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Array
from deepsight_torch.forward import decode, prefix_cache, repeated
from deepsight_torch.plan import Row, Stream
from deepsight_torch.sites import Sites
from deepsight_torch.tensors import evaluating

WORTHWHILE = 8
"""A shared beginning of fewer tokens, or shared by fewer texts, is not worth a pass of its own."""

Sink = Callable[[Row, list[Array]], None]
"""Takes a row and its activations, by stream: arrays of shape (layers, positions, width)."""


class _Enough(BaseException):
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
        self._indices: dict[tuple[int, torch.device], tuple[Tensor, Tensor, Tensor]] = {}
        self._missing = {(s.want.site, layer) for s in streams for layer in s.layers}
        self._thread = threading.get_ident()
        self._stack = ExitStack()

    def __enter__(self) -> Collector:
        users: dict[tuple[str, int | None], list[tuple[int, int]]] = {}
        for number, stream in enumerate(self.streams):
            for column, layer in enumerate(stream.layers):
                users.setdefault((stream.want.site, layer), []).append((number, column))
        for place, slots in users.items():
            self._stack.callback(self.sites.tap(*place).register(self._hook(place, slots)).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def complete(self) -> bool:
        return not self._missing

    def results(self) -> Iterator[tuple[Row, list[Array]]]:
        """Each row with its arrays. Raises DiagnosticError when something passed that is not a finite number."""
        arrays = []
        for number, stream in enumerate(self.streams):
            columns = [self._kept[number, column] for column in range(len(stream.layers))]
            array = torch.stack([column.to(columns[-1].device) for column in columns], dim=1).cpu().numpy()
            _check_finite(array, stream, self.rows)
            arrays.append(array)
        for place, row in enumerate(self.rows):
            yield row, [array[place] for array in arrays]

    def _hook(self, place: tuple[str, int | None], slots: Sequence[tuple[int, int]]) -> Callable[[Tensor], None]:
        scale = self.sites.tap(*place).scale

        def hook(tensor: Tensor) -> None:
            if place not in self._missing or threading.get_ident() != self._thread:
                return
            # Some families lay the batch out as one row of tokens inside a block.
            rows, tokens = tensor.shape[:2] if tensor.ndim == 3 else (self.batch, tensor.shape[0] // self.batch)
            if rows != self.batch or tokens < self.longest:
                return  # not the whole of this batch: a part, a chunk, or a step of decoding
            hidden = tensor.detach().reshape(rows, tokens, -1)
            for number, column in slots:
                self._kept[number, column] = self._gather(hidden, number) * scale
            self._missing.discard(place)
            if self.leave and not self._missing:
                raise _Enough

        return hook

    def _gather(self, hidden: Tensor, number: int) -> Tensor:
        """(rows, positions, width) in float32, on the activations' device."""
        stream = self.streams[number]
        members, starts, sizes = self._index(number, hidden.shape[1], hidden.device)
        if not stream.mean:
            return hidden[members, starts + torch.arange(stream.positions, device=hidden.device)].float()
        steps = torch.arange(hidden.shape[1], device=hidden.device)
        outside = (steps < starts) | (steps >= starts + sizes)
        total = hidden[members[:, 0]].float().masked_fill(outside[:, :, None], 0).sum(dim=1, keepdim=True)
        return total / sizes[:, :, None]

    def _index(self, number: int, tokens: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Place in the batch, first column and number of columns of each row, (rows, 1); moved to a device once, not
        for every layer."""
        key = (number, device)
        if key not in self._indices:
            moved = [tokens - len(row.ids) if self.left else -self.skipped for row in self.rows]
            ranges = [row.ranges[number] for row in self.rows]
            starts = [start + by for (start, _), by in zip(ranges, moved, strict=True)]
            columns = (self.members, starts, [stop - start for start, stop in ranges])
            members, first, sizes = (
                torch.tensor(column, dtype=torch.long, device=device)[:, None] for column in columns
            )
            self._indices[key] = members, first, sizes
        return self._indices[key]


def capture(
    sites: Sites, streams: Sequence[Stream], rows: Sequence[Row], sink: Sink, token_budget: int, share: bool = True
) -> None:
    """Read every row once and hand its activations to `sink`, batch by batch.

    Batches hold texts of like length, at most `token_budget` tokens with padding. They are padded on the right, where
    a causal decoder cannot see the padding; a model that can is given a mask. With `share`, a beginning that all rows
    have in common is read once.
    """
    if not rows:
        return
    with evaluating(sites.model):
        skipped = shared_prefix(rows) if share and sites.shares_prefix else 0
        cache = _read_prefix(sites, streams, rows[0].ids[:skipped]) if skipped else None
        for batch in batches(rows, token_budget, skipped):
            ids, mask = _padded(batch, skipped, sites)
            past = repeated(cache, len(batch)) if cache is not None else None
            lengths = [len(row.ids) for row in batch]
            collector = Collector(sites, streams, batch, range(len(batch)), lengths, skipped=skipped)
            _run(collector, sites, ids, mask if sites.needs_mask else None, past)
            for row, arrays in collector.results():
                sink(row, arrays)


def shared_prefix(rows: Sequence[Row]) -> int:
    """Tokens with which all rows begin, at which none of them looks, and after which each goes on; 0 when reading
    them once would not pay."""
    if len(rows) < WORTHWHILE:
        return 0
    every = [row.ids for row in rows]
    pairs = zip(min(every), max(every), strict=False)  # what the extremes share, all that lie between them share
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    looked_at = min(start for row in rows for start, _ in row.ranges)
    length = min(common, looked_at, min(map(len, every)) - 1)
    return length if length >= WORTHWHILE else 0


def batches(rows: Sequence[Row], token_budget: int, skipped: int = 0) -> Iterator[list[Row]]:
    """Rows by length, longest first: what does not fit in memory fails at once, not after an hour."""
    ordered = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    start = 0
    while start < len(ordered):
        size = max(1, token_budget // (len(ordered[start].ids) - skipped))
        yield ordered[start : start + size]
        start += size


def _read_prefix(sites: Sites, streams: Sequence[Stream], ids: Sequence[int]) -> object:
    cache = prefix_cache(sites.model.config)
    nobody = Collector(sites, streams, [], [], [len(ids)])
    _run(nobody, sites, torch.tensor([list(ids)], device=sites.device), None, cache)
    return cache


def _run(collector: Collector, sites: Sites, ids: Tensor, mask: Tensor | None, cache: object) -> None:
    with collector:
        try:
            decode(sites.decoder, ids, mask, cache)
        except _Enough:
            return
    raise DiagnosticError(
        f"the forward pass ended without passing {sorted(map(str, collector._missing))}: hooks do not fire in a "
        "compiled model; open it without torch.compile"
    )


def _padded(rows: Sequence[Row], skipped: int, sites: Sites) -> tuple[Tensor, Tensor]:
    """Ids and mask, (rows, tokens). A row's own last token pads it: any valid id will do, none of it is looked at."""
    width = len(rows[0].ids) - skipped
    ids = [[*row.ids[skipped:], *[row.ids[-1]] * (width - len(row.ids) + skipped)] for row in rows]
    lengths = torch.tensor([len(row.ids) - skipped for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return torch.tensor(ids, device=sites.device), mask.to(sites.device)


def _check_finite(array: Array, stream: Stream, rows: Sequence[Row]) -> None:
    bad = np.argwhere(~np.isfinite(array).all(axis=(2, 3)))
    if len(bad):
        row, column = bad[0]
        layer = stream.layers[column]
        where = stream.want.site + ("" if layer is None else f"[{layer}]")
        raise DiagnosticError(
            f"{where} holds NaN or infinity for prompt {rows[row].id!r}: open the model in a wider dtype (float32)"
        )
