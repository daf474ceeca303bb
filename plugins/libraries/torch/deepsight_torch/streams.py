"""What is read and what is looked at: streams of activations, distinct texts, and passes of the one over the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from deepsight_core.inside import Array, Last, MeanTokens, Project, Want
from deepsight_core.wants import varies
from deepsight_torch.reduction import source
from deepsight_torch.rendering import Indices, Rendered

Layers = tuple[int | None, ...]
ATTENTION = "attn_prob"
"""The site whose vectors are as long as the longest text of a pass, times heads; 0 where a text has no such token."""


@dataclass(frozen=True)
class Stream:
    """One site at one kind of position with one reduction, at every layer that anybody wants of it."""

    want: Want
    """The first of its wants; they differ in layers and in what is kept over all texts."""
    layers: Layers
    width: int
    vectors: int
    """Coordinates of what is gathered, before it is reduced."""
    kept: bool = True
    """Whether anybody wants a row a text; otherwise only moments are kept."""

    @property
    def site(self) -> str:
        """The site that is looked at."""
        return source(self.want)

    @property
    def mean(self) -> bool:
        return isinstance(self.want.reduce, MeanTokens)

    @property
    def positions(self) -> int | None:
        """Vectors of each text and layer; None when they vary in number."""
        where = self.want.positions
        if self.mean:
            return 1
        return None if varies(where) else where.k if isinstance(where, Last) else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, positions, width) of one text, where positions do not vary in number."""
        assert self.positions is not None
        return len(self.layers), self.positions, self.width

    def count(self, where: Indices) -> int:
        """Vectors of one text and layer that looks there."""
        return 1 if self.mean else len(where)

    @cached_property
    def projection(self) -> Array:
        """The vectors to project on, (k, width); none for other reductions."""
        reduce = self.want.reduce
        return np.array(reduce.vectors if isinstance(reduce, Project) else (), np.float32)

    @cached_property
    def identity(self) -> str:
        """What is looked at and what is made of it, layers and places aside."""
        return f"{self.want.site} {self.width} {self.want.reduce.model_dump_json()}"


@dataclass(frozen=True)
class Row:
    """A distinct text, with the tokens that each stream looks at."""

    id: str
    """The first prompt that it belongs to."""
    ids: tuple[int, ...]
    places: tuple[Indices, ...]
    """By stream."""
    prompts: tuple[int, ...]
    """Numbers of the prompts that it belongs to."""
    text: Rendered = field(compare=False)
    """The text before any truncation."""

    @property
    def answer(self) -> int:
        """Index of the answer's first token; the length of a text without one."""
        return min(self.text.answer, len(self.ids))

    @property
    def begins(self) -> int:
        """The first token that any stream looks at."""
        return min(where[0] for where in self.places)

    def keys(self, streams: Sequence[Stream], model: str) -> list[str]:
        """What the activations of each stream depend on, layers aside. The template is in the ids."""
        seen = (self.text.pictures.digest,) if self.text.pictures else ()
        return [
            hashlib.sha256(repr((model, self.ids, *seen, stream.identity, where)).encode()).hexdigest()
            for stream, where in zip(streams, self.places, strict=True)
        ]


@dataclass(frozen=True)
class Pass:
    """All streams over all distinct texts of one reading and one truncation."""

    streams: tuple[Stream, ...]
    rows: tuple[Row, ...]
    wants: tuple[Want, ...]
    truncate: int | None = None

    def stream(self, want: Want) -> int:
        """The number of the stream that serves a want."""
        return next(n for n, stream in enumerate(self.streams) if same_stream(stream.want, want))


def same_stream(one: Want, other: Want) -> bool:
    """Whether two wants differ at most in layers and in what is kept over all texts."""
    return (one.site, one.positions, one.reduce) == (other.site, other.positions, other.reduce)
