"""Keep what is wanted of texts while a model generates from them, so that no pass of its own is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from deepsight_core.errors import DiagnosticError
from deepsight_torch.collecting import Collector
from deepsight_torch.known import Known
from deepsight_torch.sites import Sites
from deepsight_torch.streams import Pass, Row

Ids = tuple[int, ...]


class Ride:
    """What is wanted of some texts, and where it goes. Without passes, nothing is wanted and nothing is hooked."""

    def __init__(self, sites: Sites, known: Known, passes: Sequence[Pass] = ()) -> None:
        self.sites, self.known, self.passes = sites, known, passes
        self._wanted: dict[Ids, list[tuple[Pass, Row]]] = {}
        for one in passes:
            for row in one.rows:
                if row.text.pictures is None:  # what is generated from is known by its tokens alone
                    self._wanted.setdefault(row.ids, []).append((one, row))

    def unwatched(self, rows: Sequence[Sequence[int]]) -> int:
        """Tokens at the beginning of these texts at which nobody looks."""
        starts = [row.begins for ids in rows for _, row in self._of(ids)]
        return min(starts, default=max(map(len, rows)))

    @contextmanager
    def prefill(self, rows: Sequence[Sequence[int]], shared: int) -> Iterator[None]:
        """Around the generation from one left-padded batch; see `TransformersInside.prefill`."""
        wanted: dict[int, tuple[Pass, list[Row], list[int]]] = {}
        for place, ids in enumerate(rows):
            for one, row in self._of(ids):
                if not self.known.recall(one, row, stored=False):
                    _, texts, members = wanted.setdefault(id(one), (one, [], []))
                    texts.append(row)
                    members.append(place)
        lengths = [len(ids) for ids in rows]
        with ExitStack() as stack:
            riders = []
            for one, texts, members in wanted.values():
                collector = Collector(self.sites, one.streams, texts, members, lengths, True, shared, leave=False)
                riders.append((one, stack.enter_context(collector)))
            yield
        for one, collector in riders:
            if collector.complete:
                # What is not finite is no reason to stop generating: `run` computes it again, and says so.
                with suppress(DiagnosticError):
                    self.known.remember(one, collector.results())

    def store(self) -> None:
        """Put what was kept into the store, if there is one."""
        for one in self.passes:
            found = {row: self.known.recall(one, row, stored=False) for row in one.rows}
            self.known.keep(one, {row: kept[0] for row, kept in found.items() if kept})

    def _of(self, ids: Sequence[int]) -> Sequence[tuple[Pass, Row]]:
        """What is wanted of a text."""
        return self._wanted.get(tuple(ids), ()) if self._wanted else ()
