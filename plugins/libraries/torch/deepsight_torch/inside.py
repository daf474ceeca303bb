"""A transformers model, opened: what it looks like inside, and one planned pass for all that is wanted of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, Array, Prompt, Want
from deepsight_torch.capture import Collector, capture
from deepsight_torch.geometry import geometry
from deepsight_torch.guard import guard
from deepsight_torch.memory import free_memory
from deepsight_torch.plan import Layers, Pass, Plan, Planner, Row
from deepsight_torch.rendering import Renderer
from deepsight_torch.sites import Sites
from deepsight_torch.store import Store

PROBE = "The quick brown fox jumps over the lazy dog, and then it sleeps."
"""What the self-check reads."""


class TransformersInside:
    """Implements deepsight_core.inside.Inside for a loaded causal language model of any family.

    `digest` stands for the weights in the store's keys. `store` is a folder that keeps activations across processes.
    `token_budget` is the size of a batch in tokens, padding included. `memory_limit`, in bytes, is half of the free
    memory unless given. `seed` chooses the texts that are recomputed as a check.

    Raises DiagnosticError when the residual stream cannot be found; `sites.absent` says why other sites are missing.
    """

    def __init__(
        self,
        model: Any,
        renderer: Renderer | Any,
        digest: str,
        store: Path | None = None,
        token_budget: int = 2048,
        memory_limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self.renderer = renderer if isinstance(renderer, Renderer) else Renderer(renderer)
        self.sites = Sites(model, self.renderer.tokenizer(PROBE, add_special_tokens=False)["input_ids"])
        self.geometry = geometry(self.sites.model.config, self.sites)
        self.token_budget = token_budget
        self.memory_limit = memory_limit
        self.seed = seed
        self._identity = f"{digest} {self.geometry.dtype}"
        self._store = Store(store) if store else None
        self._lock = threading.Lock()
        self._ridden: dict[str, tuple[Layers, Array]] = {}
        """Key of a row and stream to its layers and array."""
        self._ride: dict[tuple[int, ...], list[tuple[Pass, Row]]] = {}
        """What is wanted of a text that may be generated from, by its ids; empty while nobody rides."""

    def plan(self, wants: Sequence[Want], prompts: Sequence[Prompt], lenient: bool = False) -> Plan:
        """What `run` would do, and the memory that it would take (`bytes`)."""
        limit = self.memory_limit if self.memory_limit is not None else free_memory() // 2
        planner = Planner(self.sites, self.renderer, self.geometry.context, self.token_budget, limit)
        return planner.plan(wants, prompts, lenient)

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Acts:
        """One planned pass over the prompts for all wants together; what was ridden or stored is not computed again.

        Raises DiagnosticError for a layer out of range, a site that the model lacks, a text beyond the context or
        without the wanted position, more memory than allowed, and activations that are not finite.
        """
        plan = self.plan(wants, prompts)
        arrays: dict[Want, Array] = {}
        layers: dict[Want, Layers] = {}
        captured: Counter[str] = Counter()
        errors = []
        for number, one in enumerate(plan.passes):
            results = plan.new_arrays(number)
            captured += self._fill(one, results)
            if one.rows:
                errors.append(guard(self.sites, one, results, self.seed))
            for want in one.wants:
                stream = one.stream(want)
                arrays[want], layers[want] = _columns(want, one.streams[stream].layers, results[stream])
        ids = tuple(prompt.id for prompt in prompts)
        return Acts(ids, arrays, layers, plan.lengths, max(errors, default=None), dict(captured))

    @contextmanager
    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Iterator[None]:
        """While open, `prefill` keeps what is wanted of these prompts. Wants on answers are left to `run`, and so
        are prompts that do not fit a want: `run` says what is wrong with them."""
        plan = self.plan([want for want in wants if want.text == "prompt"], prompts, lenient=True)
        ride: dict[tuple[int, ...], list[tuple[Pass, Row]]] = {}
        for one in plan.passes:
            for row in one.rows:
                ride.setdefault(row.ids, []).append((one, row))
        self._ride = ride
        try:
            yield
        finally:
            self._ride = {}
            for one in plan.passes:
                self._keep(one, {row: found[0] for row in one.rows if (found := self._recall(one, row, stored=False))})

    def unwatched(self, rows: Sequence[Sequence[int]]) -> int:
        """Tokens at the beginning of these texts at which nobody who rides looks: they may be read once for all."""
        starts = [start for ids in rows for _, row in self._riders(ids) for start, _ in row.ranges]
        return min(starts, default=max(map(len, rows)))

    @contextmanager
    def prefill(self, rows: Sequence[Sequence[int]], shared: int = 0) -> Iterator[None]:
        """Put around generation from one left-padded batch whose real token ids are `rows`, in batch order. Their first
        `shared` tokens, at most `unwatched`, are read in a pass of their own.

        The first forward pass over the whole batch, in this thread, is looked at; where it was prefilled in another
        way (in chunks, say), nothing is kept and `run` computes it. Costs nothing unless a ride is open and wants some
        of the rows.
        """
        wanted: dict[int, tuple[Pass, list[Row], list[int]]] = {}
        for place, ids in enumerate(rows):
            for one, row in self._riders(ids):
                if not self._recall(one, row, stored=False):
                    _, texts, members = wanted.setdefault(id(one), (one, [], []))
                    texts.append(row)
                    members.append(place)
        with ExitStack() as stack:
            riders = []
            for one, texts, members in wanted.values():
                lengths = [len(ids) for ids in rows]
                collector = Collector(self.sites, one.streams, texts, members, lengths, True, shared, leave=False)
                riders.append((one, stack.enter_context(collector)))
            yield
        for one, collector in riders:
            if collector.complete:
                # What is not finite is no reason to stop generating: `run` computes it again, and says so.
                with suppress(DiagnosticError):
                    self._remember(one, collector.results())

    def _riders(self, ids: Sequence[int]) -> Sequence[tuple[Pass, Row]]:
        """What is wanted of a text by those who ride."""
        return self._ride.get(tuple(ids), ()) if self._ride else ()

    def _remember(self, one: Pass, results: Iterable[tuple[Row, list[Array]]]) -> None:
        for row, arrays in results:
            keys = row.keys(one.streams, self._identity)
            with self._lock:
                self._ridden.update(
                    (key, (stream.layers, array)) for key, stream, array in zip(keys, one.streams, arrays, strict=True)
                )

    def _fill(self, one: Pass, results: Sequence[Array]) -> Counter[str]:
        """Put every row of a pass in its place; returns how many prompts were ridden, stored and computed."""
        captured: Counter[str] = Counter()
        fresh: list[Row] = []

        def place(row: Row, arrays: list[Array]) -> None:
            for result, array in zip(results, arrays, strict=True):
                result[list(row.prompts)] = array

        def computed(row: Row, arrays: list[Array]) -> None:
            place(row, arrays)
            fresh.append(row)
            captured["computed"] += len(row.prompts)

        todo = []
        for row in one.rows:
            if known := self._recall(one, row):
                arrays, origin = known
                place(row, arrays)
                captured[origin] += len(row.prompts)
            else:
                todo.append(row)
        try:
            capture(self.sites, one.streams, todo, computed, self.token_budget)
        finally:  # also when interrupted: what was computed need not be again
            self._keep(one, {row: [result[row.prompts[0]] for result in results] for row in fresh})
        return captured

    def _recall(self, one: Pass, row: Row, stored: bool = True) -> tuple[list[Array], str] | None:
        """A row's arrays, by stream, if all of them are known, and whence."""
        arrays: list[Array] = []
        origin = "ridden"
        for key, stream in zip(row.keys(one.streams, self._identity), one.streams, strict=True):
            found = None
            layers, array = self._ridden.get(key, ((), None))
            if array is not None and set(stream.layers) <= set(layers):
                found = array[[layers.index(layer) for layer in stream.layers]]
            elif stored and self._store:
                found, origin = self._store.read(key, stream.layers), "store"
            if found is None:
                return None
            arrays.append(found)
        return arrays, origin

    def _keep(self, one: Pass, rows: dict[Row, list[Array]]) -> None:
        if self._store:
            self._store.write(
                one.streams, {tuple(row.keys(one.streams, self._identity)): arrays for row, arrays in rows.items()}
            )


def _columns(want: Want, layers: Layers, array: Array) -> tuple[Array, Layers]:
    """The layers of one want among those of its stream, in the order in which it names them."""
    wanted = want.layers if want.layers is not None and layers != (None,) else None
    if wanted is None or wanted == layers:
        return array, layers
    return np.ascontiguousarray(array[:, [layers.index(layer) for layer in wanted]]), wanted
