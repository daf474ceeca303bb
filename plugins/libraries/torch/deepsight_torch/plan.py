"""Join what all diagnostics want into passes over distinct texts, and know the memory before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import ConfigError, DiagnosticError
from deepsight_core.inside import ClassMoments, MeanTokens, NextToken, Prompt, Rows, Steps, Want
from deepsight_core.wants import varies
from deepsight_torch.reading import Reading, places
from deepsight_torch.reduction import room, source, width
from deepsight_torch.rendering import Indices, Rendered, Renderer
from deepsight_torch.sites import Sites
from deepsight_torch.streams import ATTENTION, Layers, Pass, Row, Stream, same_stream


@dataclass(frozen=True)
class Plan:
    passes: tuple[Pass, ...]
    lengths: dict[str, NDArray[np.int64]]
    """Tokens of each prompt, by text, before any truncation; of the first reading where there are several."""
    bytes: int
    """Memory that the results and the largest batch need, in bytes."""


class Planner:
    """Plans for one model. `token_budget` is the size of a batch in tokens, `limit` the memory in bytes."""

    def __init__(self, sites: Sites, renderer: Renderer, context: int | None, token_budget: int, limit: int) -> None:
        self.sites = sites
        self.renderer = renderer
        self.context = context
        self.token_budget = token_budget
        self.limit = limit

    def plan(
        self, wants: Sequence[Want], prompts: Sequence[Prompt], lenient: bool = False, distinct: bool = True
    ) -> Plan:
        """Raises DiagnosticError for a want that cannot be met, a text that it does not fit (`lenient` leaves that
        text out instead), and for more memory than the limit. Without `distinct`, equal texts are not joined."""
        wants = tuple(dict.fromkeys(wants))
        for want in wants:
            _check(want)
        groups: dict[Reading, list[Want]] = {}
        for want in wants:
            groups.setdefault(Reading.of(want), []).append(want)
        passes: list[Pass] = []
        lengths: dict[str, NDArray[np.int64]] = {}
        for reading, group in groups.items():
            rendered = [self._render(prompt, reading, lenient) for prompt in prompts]
            tokens = np.array([len(text) for text in rendered], dtype=np.int64)
            lengths.setdefault(reading.text, tokens)
            for truncate, together in _by_truncation(group, int(tokens.max(initial=0))).items():
                passes.append(self._pass(together, rendered, truncate, prompts, lenient, distinct))
        needed = sum(self._results(one, prompts) for one in passes)
        needed += max((self._batch(one) for one in passes), default=0)
        if needed > self.limit:
            raise DiagnosticError(
                f"capturing {len(wants)} wants of {len(prompts)} prompts needs {needed / 2**30:.2f} GiB, more than "
                f"the {self.limit / 2**30:.2f} GiB allowed: ask for fewer layers, positions or prompts, or "
                "raise memory_limit"
            )
        return Plan(tuple(passes), lengths, needed)

    def text(self, prompt: Prompt, want: Want) -> tuple[Rendered, Indices]:
        """One text as a want reads it, and the tokens at which it looks. Raises as `plan` does."""
        _check(want)
        rendered = self._render(prompt, Reading.of(want), lenient=False)
        try:
            return rendered, self._places(want, rendered, want.truncate)
        except DiagnosticError as error:
            raise DiagnosticError(f"prompt {prompt.id!r}: {error}") from None

    def _render(self, prompt: Prompt, reading: Reading, lenient: bool) -> Rendered:
        try:
            return reading.render(self.renderer, prompt)
        except (ConfigError, DiagnosticError) as error:
            if lenient:
                return Rendered((), "", {}, None)  # fits no want
            raise type(error)(f"prompt {prompt.id!r}: {error}") from error

    def _places(self, want: Want, text: Rendered, truncate: int | None) -> Indices:
        if truncate is None and self.context is not None and len(text) > self.context:
            raise DiagnosticError(f"{len(text)} tokens exceed the context of {self.context}: set Want.truncate")
        if want.site == "vision" and not text.pictures:
            raise DiagnosticError("has no image, so that nothing passes the vision tower")
        if text.pictures and truncate is not None and truncate < text.pictures.stop:
            raise DiagnosticError(f"its images reach to token {text.pictures.stop}, beyond the {truncate} to be read")
        return places(want.positions, text, truncate)

    def _pass(
        self,
        wants: Sequence[Want],
        rendered: Sequence[Rendered],
        truncate: int | None,
        prompts: Sequence[Prompt],
        lenient: bool,
        distinct: bool,
    ) -> Pass:
        streams = tuple(self._streams(wants, max((len(text.ids[:truncate]) for text in rendered), default=0)))
        found: dict[object, tuple[tuple[int, ...], tuple[Indices, ...], list[int]]] = {}
        for number, text in enumerate(rendered):
            try:
                where = tuple(self._places(stream.want, text, truncate) for stream in streams)
            except DiagnosticError as error:
                if lenient:
                    continue
                raise DiagnosticError(f"prompt {prompts[number].id!r}: {error}") from None
            ids = text.ids[:truncate]
            found.setdefault((ids, text.pictures, where) if distinct else number, (ids, where, []))[2].append(number)
        rows = tuple(Row(prompts[n[0]].id, ids, where, tuple(n), rendered[n[0]]) for ids, where, n in found.values())
        return Pass(streams, rows, tuple(wants), truncate)

    def _streams(self, wants: Sequence[Want], longest: int) -> Iterator[Stream]:
        groups: list[list[Want]] = []
        for want in wants:
            group = next((group for group in groups if same_stream(group[0], want)), None)
            groups.append([want]) if group is None else group.append(want)
        for group in groups:
            want, site = group[0], source(group[0])
            layers = tuple(sorted({layer for want in group for layer in self.layers(want)}, key=lambda n: n or 0))
            widths = {self.sites.tap(site, layer).width for layer in layers}
            if len(widths) > 1:
                raise DiagnosticError(
                    f"{want.site} has widths {sorted(widths)} in different layers: want layers of one width"
                )
            vectors = widths.pop() * (longest if site == ATTENTION else 1)
            kept = any(isinstance(want.collect, Rows) for want in group)
            yield Stream(want, layers, width(want, self.sites, vectors), vectors, kept)

    def layers(self, want: Want) -> Layers:
        """The layers of a want, in order: all that have the site where it names none."""
        if want.site == "logits" and ("logits", None) in self.sites.absent:
            raise DiagnosticError(f"this model has no site logits: {self.sites.absent['logits', None]}")
        found = self.sites.layers(source(want))
        if not found:
            raise DiagnosticError(f"this model has no site {want.site}: {self.sites.reason(source(want))}")
        if want.layers is None or found == (None,):
            return found
        if not want.layers:
            raise DiagnosticError(f"a want of {want.site} names no layer; leave layers out for all of them")
        for layer in want.layers:
            self.sites.tap(want.site, layer)
        return want.layers

    def _results(self, one: Pass, prompts: Sequence[Prompt]) -> int:
        """Bytes of what is kept of a pass, with the copies for wants of fewer layers than their stream."""
        total = 0
        for number, stream in enumerate(one.streams):
            if stream.kept:
                total += 4 * len(stream.layers) * stream.width * _positions(one, number, len(prompts))
        for want in one.wants:
            stream = one.streams[number := one.stream(want)]
            layers = self.layers(want)
            if isinstance(want.collect, ClassMoments):
                classes = len({prompt.labels.get(want.collect.by) for prompt in prompts})
                total += 8 * (4 * classes + 2) * len(layers) * stream.width * (stream.positions or 1)
            elif layers != stream.layers:
                total += 4 * len(layers) * stream.width * _positions(one, number, len(prompts))
        return total

    def _batch(self, one: Pass) -> int:
        """Bytes of what is held of the largest batch: what is gathered of each stream, once more while it is brought
        together, and the room that reducing takes."""
        held = gathering = 0
        for number, stream in enumerate(one.streams):
            looked_at = [len(row.places[number]) for row in one.rows]
            most = min(sum(looked_at), max(self.token_budget, max(looked_at, default=0)))
            held += 2 * 4 * len(stream.layers) * stream.width * min(most, _positions(one, number, len(one.rows)))
            gathered = 3 * 4 * max(stream.vectors, stream.width) * most
            gathering = max(gathering, gathered + room(stream.want, self.sites, most))
        return held + gathering


def _positions(one: Pass, number: int, prompts: int) -> int:
    """Vectors that a stream keeps of each layer: those of every prompt, or of distinct texts where they vary."""
    positions = one.streams[number].positions
    return sum(len(row.places[number]) for row in one.rows) if positions is None else prompts * positions


def _by_truncation(wants: Sequence[Want], longest: int) -> dict[int | None, list[Want]]:
    """Wants that read the same tokens; a truncation that cuts nothing off is none."""
    groups: dict[int | None, list[Want]] = {}
    for want in wants:
        cuts = want.truncate is not None and longest > want.truncate
        groups.setdefault(want.truncate if cuts else None, []).append(want)
    return groups


def _check(want: Want) -> None:
    if want.truncate is not None and want.truncate < 1:
        raise DiagnosticError(f"Want.truncate must be at least 1, not {want.truncate}")
    if isinstance(want.positions, Steps) and want.text != "exchange":
        raise DiagnosticError('positions "steps" are those of an answer: they need the text "exchange"')
    if isinstance(want.reduce, NextToken) and not (isinstance(want.positions, Steps) and want.truncate is None):
        raise DiagnosticError('the reduction "next-token" is for positions "steps" of a text that is not truncated')
    if want.site == ATTENTION and isinstance(want.collect, ClassMoments):
        raise DiagnosticError(f"{ATTENTION} has as many numbers as a text has tokens: there are no moments over texts")
    reduced = isinstance(want.reduce, MeanTokens)
    if isinstance(want.collect, ClassMoments) and varies(want.positions) and not reduced:
        raise DiagnosticError(
            f"positions {want.positions.type!r} vary in number: moments over texts need a reduction (MeanTokens)"
        )
