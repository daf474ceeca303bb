"""Join what all diagnostics want into passes over distinct texts, and know the memory before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import ConfigError, DiagnosticError
from deepsight_core.inside import All, Array, EndOfInstruction, Last, MeanTokens, Prompt, Span, Want
from deepsight_torch.rendering import Range, Rendered, Renderer
from deepsight_torch.sites import Sites

Layers = tuple[int | None, ...]


@dataclass(frozen=True)
class Stream:
    """One site at one kind of position, at every layer that anybody wants of it."""

    want: Want
    """The first of its wants; they differ in layers only."""
    layers: Layers
    width: int

    @property
    def positions(self) -> int:
        """Vectors of each text and layer."""
        where = self.want.positions
        return where.k if isinstance(where, Last) and not self.mean else 1

    @property
    def mean(self) -> bool:
        return isinstance(self.want.reduce, MeanTokens)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, positions, width) of one text."""
        return len(self.layers), self.positions, self.width


@dataclass(frozen=True)
class Row:
    """A distinct text, with the tokens that each stream looks at."""

    id: str
    """The first prompt that it belongs to, for messages."""
    ids: tuple[int, ...]
    ranges: tuple[Range, ...]
    """[start, stop) by stream: every kind of position is a range of consecutive tokens."""
    prompts: tuple[int, ...]
    """Numbers of the prompts that it belongs to."""

    def keys(self, streams: Sequence[Stream], model: str) -> list[str]:
        """What the activations of each stream depend on, layers aside. The template is in the ids."""
        return [
            hashlib.sha256(repr((model, self.ids, stream.want.site, span, stream.mean)).encode()).hexdigest()
            for stream, span in zip(streams, self.ranges, strict=True)
        ]


@dataclass(frozen=True)
class Pass:
    """All streams over all distinct texts of one kind and one truncation."""

    streams: tuple[Stream, ...]
    rows: tuple[Row, ...]
    wants: tuple[Want, ...]

    def stream(self, want: Want) -> int:
        """The number of the stream that serves a want."""
        return next(n for n, stream in enumerate(self.streams) if _same_stream(stream.want, want))


@dataclass(frozen=True)
class Plan:
    passes: tuple[Pass, ...]
    prompts: int
    lengths: dict[str, NDArray[np.int64]]
    """Tokens of each prompt, by text, before any truncation."""
    bytes: int
    """Memory that the results and the largest batch need, in bytes."""

    def new_arrays(self, number: int) -> list[Array]:
        """Room for the results of one pass: (prompts, layers, positions, width) by stream."""
        return [np.empty((self.prompts, *stream.shape), np.float32) for stream in self.passes[number].streams]


class Planner:
    """Plans for one model. `token_budget` is the size of a batch in tokens, `limit` the memory in bytes."""

    def __init__(self, sites: Sites, renderer: Renderer, context: int | None, token_budget: int, limit: int) -> None:
        self.sites = sites
        self.renderer = renderer
        self.context = context
        self.token_budget = token_budget
        self.limit = limit

    def plan(self, wants: Sequence[Want], prompts: Sequence[Prompt], lenient: bool = False) -> Plan:
        """Raises DiagnosticError for a want that cannot be met, a text that it does not fit (`lenient` leaves that
        text out instead), and for more memory than the limit."""
        wants = tuple(dict.fromkeys(wants))
        for want in wants:
            _check(want)
        kinds: list[str] = list(dict.fromkeys(want.text for want in wants))
        texts = {text: [self._render(prompt, text, lenient) for prompt in prompts] for text in kinds}
        lengths = {text: np.array([len(r) for r in rendered], dtype=np.int64) for text, rendered in texts.items()}
        groups: dict[tuple[str, int | None], list[Want]] = {}
        for want in wants:
            # A truncation that cuts nothing off is none, so that such wants share a pass.
            cuts = want.truncate is not None and int(lengths[want.text].max(initial=0)) > want.truncate
            groups.setdefault((want.text, want.truncate if cuts else None), []).append(want)
        passes = tuple(
            self._pass(group, texts[text], truncate, prompts, lenient) for (text, truncate), group in groups.items()
        )
        needed = self._bytes(passes, len(prompts))
        if needed > self.limit:
            raise DiagnosticError(
                f"capturing {len(wants)} wants of {len(prompts)} prompts needs {needed / 2**30:.2f} GiB, more than "
                f"the {self.limit / 2**30:.2f} GiB allowed: ask for fewer layers, positions or prompts, or "
                "raise memory_limit"
            )
        return Plan(passes, len(prompts), lengths, needed)

    def _render(self, prompt: Prompt, text: str, lenient: bool) -> Rendered:
        try:
            if text == "prompt":
                return self.renderer.prompt(prompt.messages)
            return self.renderer.exchange(prompt.messages, prompt.answer)
        except ConfigError as error:
            if lenient:
                return Rendered((), "", {}, None)  # fits no want
            raise type(error)(f"prompt {prompt.id!r}: {error}") from error

    def _pass(
        self,
        wants: Sequence[Want],
        rendered: Sequence[Rendered],
        truncate: int | None,
        prompts: Sequence[Prompt],
        lenient: bool,
    ) -> Pass:
        streams = tuple(self._streams(wants))
        distinct: dict[tuple[tuple[int, ...], tuple[Range, ...]], list[int]] = {}
        for number, text in enumerate(rendered):
            try:
                if truncate is None and self.context is not None and len(text) > self.context:
                    raise DiagnosticError(f"{len(text)} tokens exceed the context of {self.context}: set Want.truncate")
                ranges = tuple(_range(stream.want, text, truncate) for stream in streams)
            except DiagnosticError as error:
                if lenient:
                    continue
                raise DiagnosticError(f"prompt {prompts[number].id!r}: {error}") from None
            distinct.setdefault((text.ids[:truncate], ranges), []).append(number)
        rows = tuple(Row(prompts[n[0]].id, ids, ranges, tuple(n)) for (ids, ranges), n in distinct.items())
        return Pass(streams, rows, tuple(wants))

    def _streams(self, wants: Sequence[Want]) -> Iterator[Stream]:
        groups: list[list[Want]] = []
        for want in wants:
            group = next((group for group in groups if _same_stream(group[0], want)), None)
            groups.append([want]) if group is None else group.append(want)
        for group in groups:
            layers = tuple(sorted({layer for want in group for layer in self.layers(want)}, key=lambda n: n or 0))
            widths = {self.sites.tap(group[0].site, layer).width for layer in layers}
            if len(widths) > 1:
                raise DiagnosticError(
                    f"{group[0].site} has widths {sorted(widths)} in different layers: want layers of one width"
                )
            yield Stream(group[0], layers, widths.pop())

    def layers(self, want: Want) -> Layers:
        """The layers of a want, in order: all that have the site where it names none."""
        found = self.sites.layers(want.site)
        if not found:
            raise DiagnosticError(f"this model has no site {want.site}: {self.sites.reason(want.site)}")
        if want.layers is None or found == (None,):
            return found
        if not want.layers:
            raise DiagnosticError(f"a want of {want.site} names no layer; leave layers out for all of them")
        for layer in want.layers:
            self.sites.tap(want.site, layer)
        return want.layers

    def _bytes(self, passes: Sequence[Pass], prompts: int) -> int:
        results = copies = widest = 0
        for one in passes:
            for stream in one.streams:
                results += prompts * int(np.prod(stream.shape)) * 4
                widest = max(widest, stream.width)
            for want in one.wants:
                if (layers := self.layers(want)) != (stream := one.streams[one.stream(want)]).layers:
                    copies += prompts * len(layers) * stream.positions * stream.width * 4
        return results + copies + 2 * self.token_budget * widest * 4


def _check(want: Want) -> None:
    reduced = isinstance(want.reduce, MeanTokens)
    if isinstance(want.positions, All | Span) and not reduced:
        raise DiagnosticError(
            f"positions {want.positions.type!r} vary in number: pair them with a reduction (MeanTokens)"
        )
    if want.truncate is not None and want.truncate < 1:
        raise DiagnosticError(f"Want.truncate must be at least 1, not {want.truncate}")


def _same_stream(one: Want, other: Want) -> bool:
    return (one.site, one.positions, one.reduce) == (other.site, other.positions, other.reduce)


def _range(want: Want, text: Rendered, truncate: int | None) -> Range:
    """Where a want looks in one text. Raises DiagnosticError when the text has no such place."""
    length = len(text) if truncate is None else min(len(text), truncate)
    where = want.positions
    if isinstance(where, Last):
        if length < where.k:
            raise DiagnosticError(f"has {length} tokens, but its last {where.k} are wanted")
        return length - where.k, length
    if isinstance(where, All):
        start, stop = 0, length
    elif isinstance(where, EndOfInstruction):
        if text.end_of_instruction is None:
            raise DiagnosticError("has no user message, or an empty one: no end of instruction")
        start, stop = text.end_of_instruction, text.end_of_instruction + 1
    else:
        start, stop = text.spans.get(where.name, (0, 0))
    stop = min(stop, length)
    if stop <= start:
        cut = f" within its first {truncate} tokens" if truncate is not None else ""
        raise DiagnosticError(f"has no tokens at {where.type} {getattr(where, 'name', '')}".rstrip() + cut)
    return start, stop
