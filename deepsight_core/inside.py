"""The contract for looking inside a model: what a diagnostic asks to see, and what it is given.

A diagnostic declares `Want`s before anything runs. A white-box model plans all of them into one pass and answers
with `Acts`: numpy arrays, so that most diagnostics are pure functions that need no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Message, Value

Array = NDArray[np.float32]


# --- Positions: always relative to real tokens, never to padding ------------------------------


class Last(Value):
    """The last k tokens of the text, oldest first."""

    type: Literal["last"] = "last"
    k: int = Field(1, ge=1)


class EndOfInstruction(Value):
    """The last token of the last user message, before the template's tail."""

    type: Literal["end-of-instruction"] = "end-of-instruction"


class All(Value):
    """Every token, template included; must be paired with a reduction."""

    type: Literal["all"] = "all"


class Span(Value):
    """The tokens of a named part of the text; must be paired with a reduction."""

    type: Literal["span"] = "span"
    name: Literal["user", "response"]


Positions = Annotated[Last | EndOfInstruction | All | Span, Field(discriminator="type")]


# --- Reductions: done where the activation is, before anything is kept ------------------------


class Keep(Value):
    """The vectors themselves."""

    type: Literal["keep"] = "keep"


class MeanTokens(Value):
    """The mean over the chosen positions, accumulated in float32 or wider."""

    type: Literal["mean-tokens"] = "mean-tokens"


Reduce = Annotated[Keep | MeanTokens, Field(discriminator="type")]

SiteKind = Literal["embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron", "final"]
"""`attn_out` and `mlp_out` are what is *added to the residual stream*; `head` is the input of the attention's output
projection (heads side by side), `neuron` the input of the MLP's down projection; `final` follows the last norm."""


class Want(Value):
    """What a diagnostic asks to see of every prompt."""

    site: SiteKind = "resid_out"
    layers: tuple[int, ...] | None = None
    """Decoder blocks, from 0; None for all. `embed` and `final` have no layers and ignore this."""
    positions: Positions = Last()
    reduce: Reduce = Keep()
    text: Literal["prompt", "exchange"] = "prompt"
    """prompt: as sent to the model, with the template's opening of the answer. exchange: prompt and answer together,
    re-read in one pass (teacher forcing), which gives the activations of step-by-step decoding."""
    truncate: int | None = None
    """Keep at most this many tokens of the text (from its start); None refuses what exceeds the context."""


class Prompt(Value):
    """A text to look at: messages, and the answer that was judged, if any."""

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None


@dataclass(frozen=True)
class Geometry:
    """The shape of a model, for planning wants without loading anything."""

    layers: int
    width: int
    heads: int
    head_width: int
    neurons: int
    vocabulary: int
    context: int | None = None
    family: str = ""
    dtype: str = "float32"


@dataclass(frozen=True)
class Acts:
    """The activations that were asked for, one row per prompt."""

    ids: tuple[str, ...]
    arrays: Mapping[Want, Array]
    """Shape (prompts, layers, positions, width); sites without layers have one, reduced positions have one."""
    layers: Mapping[Want, tuple[int | None, ...]]
    """The block of each row of axis 1."""
    lengths: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Tokens of each prompt, by `Want.text`."""
    error: float | None = None
    """Faithfulness: largest relative difference over two prompts recomputed alone, without padding."""
    captured: Mapping[str, int] = field(default_factory=dict)
    """How the rows came about: `ridden` on generation, `computed`, or read from the `store`."""

    def __getitem__(self, want: Want) -> Array:
        return self.arrays[want]

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row numbers of these sample ids. Raises DiagnosticError for an id that was not captured."""
        index = {id: row for row, id in enumerate(self.ids)}
        try:
            return np.array([index[id] for id in ids], dtype=np.int64)
        except KeyError as error:
            raise DiagnosticError(f"no activations were captured for sample {error.args[0]!r}") from None


class Inside(Protocol):
    """A white-box model, opened. deepsight-torch implements it for transformers models."""

    @property
    def geometry(self) -> Geometry: ...

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Acts:
        """One planned pass over the prompts for all wants together; what was ridden before is not computed again.

        Raises DiagnosticError for a layer out of range, a site that the model lacks, or a text beyond the context.
        """

    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """While open, generation keeps what is wanted of these prompts as it prefills them, so that `run` need not
        compute it. Only wants on the text "prompt" can ride; the others are left to `run`."""
