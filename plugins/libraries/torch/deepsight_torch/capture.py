"""Read texts through a decoder and keep what is wanted of them: batched, exact, and no further than needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import Protocol

import torch
from torch import Tensor

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Array
from deepsight_torch.collecting import Collector, Enough
from deepsight_torch.forward import prefix_cache, repeated
from deepsight_torch.pictures import Pictures
from deepsight_torch.restart import restarted
from deepsight_torch.sites import Sites
from deepsight_torch.streams import ATTENTION, Row, Stream
from deepsight_torch.tensors import evaluating

WORTHWHILE = 8
"""A shared beginning of fewer tokens, or shared by fewer texts, is not worth a pass of its own."""

Sink = Callable[[Row, list[Array]], None]
"""Takes a row and its activations, by stream: arrays of shape (layers, positions, width)."""


class Edits(Protocol):
    """Changes to be made while a batch is read (deepsight_torch.editing)."""

    @property
    def uniform(self) -> bool:
        """Whether all rows get the same, so that what they share may be read once."""

    @property
    def lowest(self) -> int:
        """The first block whose input or inside is changed."""

    def parting(self, ids: Sequence[str]) -> int | None:
        """The first token at which the rows of these prompts may get something different; None for nowhere."""

    def batch(
        self, ids: Sequence[str], starts: Sequence[int], lengths: Sequence[int], answers: Sequence[int]
    ) -> AbstractContextManager[object]:
        """Put around the pass of one batch: the prompt id of each row, the column of its first token (negative when
        what precedes the columns of this pass was read before), its tokens, and the index of its answer's first."""


def capture(
    sites: Sites,
    streams: Sequence[Stream],
    rows: Sequence[Row],
    sink: Sink,
    token_budget: int,
    share: bool = True,
    edits: Edits | None = None,
) -> set[int]:
    """Read every row once and hand its activations to `sink`, batch by batch. Returns the first prompts of the rows
    that were read alone: in a batch of 1, with nothing shared.

    Batches hold texts of like length, at most `token_budget` tokens with padding. They are padded on the right, where
    a causal decoder cannot see the padding; a model that can is given a mask. With `share`, a beginning that all rows
    have in common is read once. `edits` are in force while the model reads.
    """
    alone: set[int] = set()
    if not rows:
        return alone
    with evaluating(sites.model):
        share = share and sites.shares_prefix and not any(row.text.pictures for row in rows)
        share = share and all(stream.site != ATTENTION for stream in streams)  # a window may hold fewer keys
        parting = edits.parting([row.id for row in rows]) if edits else None
        skipped = shared_prefix(rows, parting) if share else 0
        cache = None
        if skipped:
            with _edited(edits, rows[:1], 0, skipped):
                cache = _read_prefix(sites, streams, rows[0].ids[:skipped])
        for batch in batches(rows, token_budget, skipped if parting is None else 0):
            ids, mask = padded(batch, skipped, sites)
            past = repeated(cache, len(batch)) if cache is not None else None
            lengths = [len(row.ids) for row in batch]
            collector = Collector(sites, streams, batch, range(len(batch)), lengths, skipped=skipped)
            given = mask if sites.needs_mask else None
            start = _first_block(edits, streams) if past is None else 0
            with restarted(sites, start, ids, given), _edited(edits, batch, skipped):
                _run(collector, sites, ids, given, past, batch[0].text.pictures)
            if len(batch) == 1 and not skipped:
                alone.add(batch[0].prompts[0])
            for row, arrays in collector.results():
                sink(row, arrays)
    return alone


def shared_prefix(rows: Sequence[Row], parting: int | None = None) -> int:
    """Tokens with which all rows begin, at which none of them looks, which are no answer's, and after which each goes
    on; 0 when reading them once would not pay. Where rows get something different from token `parting` on, these lie
    before it and make up most of the text: to start such rows at a higher block saves more than a short beginning."""
    if len(rows) < WORTHWHILE:
        return 0
    every = [row.ids for row in rows]
    pairs = zip(min(every), max(every), strict=False)  # what the extremes share, all that lie between them share
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    looked_at = min(min(row.begins, row.answer) for row in rows)
    length = min(common, looked_at, min(map(len, every)) - 1)
    if parting is not None:
        length = min(length, parting)
        if 2 * length < max(map(len, every)):
            return 0
    return length if length >= WORTHWHILE else 0


def _first_block(edits: Edits | None, streams: Sequence[Stream]) -> int:
    """The first block that edits change or that is looked into: equal texts need be read but once up to there."""
    looked_into = [layer for stream in streams for layer in stream.layers if layer is not None]
    return min([edits.lowest, *looked_into]) if edits else 0


def _edited(
    edits: Edits | None, rows: Sequence[Row], skipped: int, until: int | None = None
) -> AbstractContextManager[object]:
    """The edits of a batch whose first `skipped` tokens were read before; of its first `until` tokens alone."""
    if edits is None:
        return nullcontext()
    lengths = [len(row.ids) if until is None else until for row in rows]
    answers = [min(row.answer, length) for row, length in zip(rows, lengths, strict=True)]
    return edits.batch([row.id for row in rows], [-skipped] * len(rows), lengths, answers)


def batches(rows: Sequence[Row], token_budget: int, skipped: int = 0) -> Iterator[list[Row]]:
    """Rows by length, longest first: what does not fit in memory fails at once, not after an hour. Before them, texts
    with images, one by one."""
    yield from ([row] for row in rows if row.text.pictures)
    ordered = sorted((row for row in rows if not row.text.pictures), key=lambda row: len(row.ids), reverse=True)
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


def _run(
    collector: Collector,
    sites: Sites,
    ids: Tensor,
    mask: Tensor | None,
    cache: object,
    pictures: Pictures | None = None,
) -> None:
    with collector:
        try:
            sites.read(ids, mask, cache, pictures)
        except Enough:
            return
    raise DiagnosticError(
        f"the forward pass ended without passing {sorted(map(str, collector.missing))}: hooks do not fire in a "
        "compiled model; open it without torch.compile"
    )


def padded(rows: Sequence[Row], skipped: int, sites: Sites) -> tuple[Tensor, Tensor]:
    """Ids and mask, (rows, tokens). A row's own last token pads it: any valid id will do, none of it is looked at."""
    width = len(rows[0].ids) - skipped
    ids = [[*row.ids[skipped:], *[row.ids[-1]] * (width - len(row.ids) + skipped)] for row in rows]
    lengths = torch.tensor([len(row.ids) - skipped for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return torch.tensor(ids, device=sites.device), mask.to(sites.device)
