"""A transformers model, opened: what it looks like inside, and one planned pass for all that is wanted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsight_core.edits import Edit
from deepsight_core.inside import Acts, Array, ClassMoments, DirectEffects, Prompt, Steps, Token, Want, Written
from deepsight_core.protocol import Site
from deepsight_core.weights import Importance, Part, Place
from deepsight_torch.attribution import Attribution
from deepsight_torch.capture import capture
from deepsight_torch.editing import Editing
from deepsight_torch.generation import Writer
from deepsight_torch.geometry import geometry
from deepsight_torch.gradients import gradients
from deepsight_torch.guard import Guard
from deepsight_torch.images import ImageRenderer, renderer_for
from deepsight_torch.importance import examples, importance, masked
from deepsight_torch.known import Known
from deepsight_torch.matrices import holders
from deepsight_torch.memory import free_memory
from deepsight_torch.moments import Accumulator
from deepsight_torch.plan import Plan, Planner
from deepsight_torch.rendering import Renderer
from deepsight_torch.results import Results
from deepsight_torch.riding import Ride
from deepsight_torch.sites import Sites
from deepsight_torch.store import Store
from deepsight_torch.streams import ATTENTION, Layers, Pass, Row

PROBE = "The quick brown fox jumps over the lazy dog, and then it sleeps."
"""What the self-check reads."""
PROMOTED = 8
"""Tokens that are named for each neuron."""
STREAMED = 2048
"""Prompts that are taken at a time from a stream, when only moments are kept."""


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
        self.renderer = renderer if isinstance(renderer, Renderer) else renderer_for(renderer, model.config)
        self.sites = Sites(model, self.renderer.tokenizer(PROBE, add_special_tokens=False)["input_ids"])
        if isinstance(self.renderer, ImageRenderer):
            self.sites.see(*self.renderer.probe())
        self.geometry = geometry(self.sites.model.config, self.sites)
        self.token_budget = token_budget
        self.memory_limit = memory_limit
        self.seed = seed
        self._known = Known(f"{digest} {self.geometry.dtype}", Store(store) if store else None)
        self._ride = Ride(self.sites, self._known)

    @property
    def _planner(self) -> Planner:
        limit = self.memory_limit if self.memory_limit is not None else free_memory() // 2
        return Planner(self.sites, self.renderer, self.geometry.context, self.token_budget, limit)

    def plan(self, wants: Sequence[Want], prompts: Sequence[Prompt], lenient: bool = False) -> Plan:
        """What `run` would do, and the memory that it would take (`bytes`)."""
        return self._planner.plan(wants, prompts, lenient)

    def run(self, wants: Sequence[Want], prompts: Iterable[Prompt], edits: Sequence[Edit] = ()) -> Acts:
        """One planned pass over the prompts for all wants together; what was ridden or stored is not computed again.

        Where every want collects moments, prompts are taken from the stream as they are needed, nothing is stored, and
        `Acts` has neither ids nor lengths. With `edits`, every prompt is read for itself, and nothing is stored.

        Raises DiagnosticError for a layer out of range, a site that the model lacks, a text beyond the context or
        without the wanted position, more memory than allowed, and activations that are not finite.
        """
        wants = tuple(dict.fromkeys(wants))
        editing = Editing(self.sites, edits) if edits else None
        streaming = bool(wants) and all(isinstance(want.collect, ClassMoments) for want in wants)
        arrays: dict[Want, Array] = {}
        ragged: dict[Want, tuple[Array, ...]] = {}
        layers: dict[Want, Layers] = {}
        moments: dict[Want, Accumulator] = {}
        captured: Counter[str] = Counter()
        errors: list[float] = []
        for chunk in _chunks(prompts, STREAMED if streaming else None):
            planner = self._planner
            plan = planner.plan(wants, chunk, distinct=editing is None)
            for one in plan.passes:
                results = Results(one, chunk, moments)
                captured += self._fill(one, results, errors, editing)
                for want in one.wants:
                    number = one.stream(want)
                    layers[want] = planner.layers(want)
                    if want in moments:
                        continue
                    if one.streams[number].positions is None:
                        ragged[want] = results.each(want, number)
                    else:
                        arrays[want] = results.stacked(want, number)
        return Acts(
            () if streaming else tuple(prompt.id for prompt in chunk),
            arrays,
            layers,
            {} if streaming else plan.lengths,
            max(errors, default=None),
            dict(captured),
            ragged,
            {want: into.moments() for want, into in moments.items()},
        )

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        """The tokens at the positions of a want; of `Steps`, the tokens that were decided there."""
        read = []
        for prompt in prompts:
            text, places = self._planner.text(prompt, want)
            by = 1 if isinstance(want.positions, Steps) else 0
            ids = [text.ids[place + by] for place in places]
            read.append(tuple(Token(self.renderer.tokenizer.decode([id]), id) for id in ids))
        return tuple(read)

    @contextmanager
    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Iterator[None]:
        """While open, `prefill` keeps what is wanted of these prompts. Wants on answers are left to `run`, and so
        are prompts that do not fit a want: `run` says what is wrong with them."""
        can = [want for want in wants if want.text == "prompt" and want.site != ATTENTION]
        before, self._ride = self._ride, Ride(self.sites, self._known, self.plan(can, prompts, lenient=True).passes)
        ride = self._ride
        try:
            yield
        finally:
            self._ride = before
            ride.store()

    def unwatched(self, rows: Sequence[Sequence[int]]) -> int:
        """Tokens at the beginning of these texts at which nobody who rides looks: they may be read once for all."""
        return self._ride.unwatched(rows)

    def prefill(self, rows: Sequence[Sequence[int]], shared: int = 0) -> AbstractContextManager[None]:
        """Put around generation from one left-padded batch whose real token ids are `rows`, in batch order. Their first
        `shared` tokens, at most `unwatched`, are read in a pass of their own.

        The first forward pass over the whole batch, in this thread, is looked at; where it was prefilled in another
        way (in chunks, say), nothing is kept and `run` computes it. Costs nothing unless a ride is open and wants some
        of the rows.
        """
        return self._ride.prefill(rows, shared)

    def generate(
        self, prompts: Sequence[Prompt], max_tokens: int, edits: Sequence[Edit] = (), raw: bool = False
    ) -> tuple[Written, ...]:
        """Greedy answers, in the order of the prompts, under edits that may differ between them; for experiments.

        Texts that are equal and edited alike are written once. Raises DiagnosticError for edits that do not fit the
        model, a prompt that leaves no room in the context, and logits that are not finite.
        """
        writer = Writer(self.sites, self.renderer, self.geometry.context, self.token_budget)
        return writer.write(prompts, max_tokens, edits, raw)

    @contextmanager
    def edited(self, edits: Sequence[Edit]) -> Iterator[None]:
        """While open, everything that the model does is done under the edits, in whatever thread, and nothing is ridden
        or read from the store, nor kept there.

        A pass with more than one new column counts as a prompt, one with a single column as a token of an answer.
        Raises DiagnosticError for edits that differ between rows.
        """
        with self._apart(), Editing(self.sites, edits).everywhere():
            yield

    def gradients(
        self, wants: Sequence[Want], prompts: Sequence[Prompt], tokens: Sequence[int], edits: Sequence[Edit] = ()
    ) -> Acts:
        """The gradient of the refusal score with respect to the activations at each want; see `gradients.gradients`."""
        return gradients(self.sites, self._planner, wants, prompts, tokens, edits, self.memory_limit)

    def direct(
        self,
        prompts: Sequence[Prompt],
        positive: Sequence[int],
        negative: Sequence[int],
        *,
        top: int = 0,
        weights: Sequence[float] | None = None,
        neurons: Sequence[Site] = (),
    ) -> DirectEffects:
        """What each part adds to a difference of logits at the last token; see `deepsight_core.inside.Inside`. Nothing
        is stored."""
        shares = np.full(len(prompts), 1 / max(1, len(prompts))) if weights is None else np.asarray(weights, float)
        attribution = Attribution(self.sites, positive, negative)
        with self._apart():
            found = attribution.effects(self.run, prompts, shares, top, neurons)
        named = attribution.promoted([site for site in found.sites if site.kind == "neuron"], PROMOTED)
        words = (tuple(Token(self.renderer.tokenizer.decode([id]), id) for id in ids) for ids in named)
        return replace(found, promoted=tuple(words))

    def importance(
        self,
        cohorts: Mapping[str, Sequence[Prompt]],
        *,
        depth: float,
        blocks: int = 1,
        parts: Sequence[Part] = ("mlp",),
        layers: Sequence[int] | None = None,
        raw: bool = False,
        drop_first: bool = False,
    ) -> Importance:
        """Which weights the loss on the answers of each cohort depends on; see `importance.importance`."""
        rows = {
            name: examples(self.renderer, prompts, raw, drop_first, self.geometry.context)
            for name, prompts in cohorts.items()
        }
        return importance(self.sites, rows, holders(self.sites, parts, layers), depth, blocks, self.memory_limit)

    @contextmanager
    def masked(self, entries: Mapping[Place, NDArray[np.int64]]) -> Iterator[None]:
        """While open, these weights are zero, and nothing is ridden or read from the store, nor kept there."""
        with self._apart(), masked(holders(self.sites, ("attention", "mlp")), entries):
            yield

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """While open, what is ridden and stored is as if there were nothing, and what comes to be so is forgotten."""
        before = self._known, self._ride
        self._known = Known(self._known.model)
        self._ride = Ride(self.sites, self._known)
        try:
            yield
        finally:
            self._known, self._ride = before

    def _fill(self, one: Pass, results: Results, errors: list[float], editing: Editing | None) -> Counter[str]:
        """Put every row of a pass in its place, and the guard's error with the others; returns how many prompts were
        ridden, stored and computed."""
        captured: Counter[str] = Counter()
        guard = Guard(one, self.seed)
        fresh: list[Row] = []

        def place(row: Row, arrays: list[Array], origin: str) -> None:
            results.put(row, arrays)
            guard.see(row, arrays)
            captured[origin] += len(row.prompts)

        def computed(row: Row, arrays: list[Array]) -> None:
            place(row, arrays, "computed")
            fresh.append(row)

        todo = []
        for row in one.rows:
            if editing:
                editing.locate(row.id, row.text, one.truncate)
                todo.append(row)
            elif known := self._known.recall(one, row):
                place(row, *known)
            else:
                todo.append(row)
        try:
            alone = capture(self.sites, one.streams, todo, computed, self.token_budget, edits=editing)
        finally:  # also when interrupted: what was computed need not be again
            if results.kept and not editing:
                self._known.keep(one, {row: results.get(row) for row in fresh})
        if one.rows:
            errors.append(guard.error(self.sites, editing, alone))
        return captured


def _chunks(prompts: Iterable[Prompt], size: int | None) -> Iterator[list[Prompt]]:
    """So many prompts at a time, all of them for None; one empty list when there are none."""
    source = iter(prompts)
    chunk = list(islice(source, size))
    yield chunk
    while size is not None and (chunk := list(islice(source, size))):
        yield chunk
