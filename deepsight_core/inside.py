"""The contract for looking inside a model, and for changing what goes on there.

A diagnostic declares `Want`s before anything runs. A white-box model plans all of them into one pass and answers
with `Acts`: numpy arrays, so that most diagnostics are pure functions that need no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from deepsight_core.edits import Edit
from deepsight_core.errors import DiagnosticError
from deepsight_core.messages import Message, Value
from deepsight_core.protocol import Label, Site
from deepsight_core.wants import (
    All as All,
    ClassMoments as ClassMoments,
    Collect as Collect,
    EndOfInstruction as EndOfInstruction,
    Keep as Keep,
    Last as Last,
    Lens as Lens,
    MeanTokens as MeanTokens,
    NextToken as NextToken,
    Positions as Positions,
    PostInstruction as PostInstruction,
    Project as Project,
    Reduce as Reduce,
    Rows as Rows,
    SiteKind as SiteKind,
    Span as Span,
    Steps as Steps,
    TopK as TopK,
    Want as Want,
)
from deepsight_core.weights import Importance, Part

Array = NDArray[np.float32]
Floats = NDArray[np.float64]


class Prompt(Value):
    """A text to look at: messages, and the answer that was judged, if any."""

    id: str
    messages: tuple[Message, ...]
    answer: str | None = None
    answer_tokens: tuple[int, ...] | None = None
    """The answer as the model wrote it, token by token; None to tokenise `answer`."""
    target: str | None = None
    """The reference answer."""
    labels: Mapping[str, Label] = {}


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
class Moments:
    """Of each class: how many texts, their mean, and their variance (divided by the count), accumulated in float64."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    means: Floats
    """Shape (classes, layers, positions, width)."""
    variances: Floats
    """Of each coordinate, the same shape; their sum over the width is the trace of the class's scatter."""


@dataclass(frozen=True)
class Acts:
    """The activations that were asked for, one row per prompt."""

    ids: tuple[str, ...]
    arrays: Mapping[Want, Array]
    """Shape (prompts, layers, positions, width); sites without layers have one, reduced positions have one. `Project`,
    `Lens`, `TopK` and `NextToken` put their numbers where the width is."""
    layers: Mapping[Want, tuple[int | None, ...]]
    """The block of each row of axis 1."""
    lengths: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Tokens of each prompt, by `Want.text`."""
    error: float | None = None
    """Faithfulness: largest relative difference over two prompts recomputed alone, without padding."""
    captured: Mapping[str, int] = field(default_factory=dict)
    """How the rows came about: `ridden` on generation, `computed`, or read from the `store`."""
    ragged: Mapping[Want, tuple[Array, ...]] = field(default_factory=dict)
    """Wants whose positions vary in number: one array of shape (layers, positions, width) a prompt."""
    moments: Mapping[Want, Moments] = field(default_factory=dict)
    """Wants that collect class moments."""

    def __getitem__(self, want: Want) -> Array:
        return self.arrays[want]

    def each(self, want: Want) -> tuple[Array, ...]:
        """One array of shape (layers, positions, width) for each prompt, whether or not positions vary in number."""
        return self.ragged[want] if want in self.ragged else tuple(self.arrays[want])

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row numbers of these sample ids. Raises DiagnosticError for an id that was not captured."""
        index = {id: row for row, id in enumerate(self.ids)}
        try:
            return np.array([index[id] for id in ids], dtype=np.int64)
        except KeyError as error:
            raise DiagnosticError(f"no activations were captured for sample {error.args[0]!r}") from None


ODDS_FLOOR = 1e-8
"""Keeps the log-odds of a refusal finite (Arditi et al. 2024, arXiv:2406.11717, appendix)."""


class Token(str):
    """A token as text, that knows its number."""

    id: int

    def __new__(cls, text: str, id: int) -> Self:
        token = super().__new__(cls, text)
        token.id = id
        return token


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt, greedily."""

    id: str
    text: str
    tokens: tuple[int, ...]
    """Token ids, the end token included where one was written."""
    ended: bool
    """Whether it ended by itself."""


@dataclass(frozen=True)
class DirectEffects:
    """What each part of a model adds, directly, to a difference of logits at the prompt's last token: the mean logit of
    some tokens less that of others, the scale of the final norm held at what it was (direct logit attribution).

    What a part does by way of later parts is not in it.
    """

    ids: tuple[str, ...]
    sites: tuple[Site, ...]
    """`embed` (all that enters the first block), then `attn_out` and `mlp_out` of every block, which add up; then what
    these consist of: every `head` that can be told apart, and the neurons that were asked for."""
    values: Floats
    """Shape (prompts, sites), in logits. The heads of a block leave out the bias of its projection."""
    constant: float
    """The share of the biases of final norm and head, the same for all prompts."""
    total: Floats
    """Shape (prompts,): the difference as the model gives it, before any cap."""
    error: float = 0.0
    """Largest absolute difference between `total` and the sum of its parts."""
    top: tuple[tuple[Site, float], ...] = ()
    """The neurons whose weighted mean effect is largest, whatever its sign, the largest first."""
    promoted: tuple[tuple[Token, ...], ...] = ()
    """Of each neuron that was asked for, the tokens whose logits it raises most while its activation is positive."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why the heads or neurons of a block are missing, by `head[2]` or `neuron[0]`."""
    capped: bool = False
    """Whether the model caps its logits, which the parts do not add up to then."""

    def column(self, site: Site) -> Floats:
        """Shape (prompts,). Raises ValueError for a site that is not among `sites`."""
        return np.asarray(self.values[:, self.sites.index(site)])


class Inside(Protocol):
    """A white-box model, opened. deepsight-torch implements it for transformers models."""

    @property
    def geometry(self) -> Geometry: ...

    def run(self, wants: Sequence[Want], prompts: Iterable[Prompt], edits: Sequence[Edit] = ()) -> Acts:
        """One planned pass over the prompts for all wants together; what was ridden before is not computed again.

        With `edits`, activations are those of the edited model, and are neither ridden nor stored. Where every want
        collects moments, the prompts may be a stream of any length. Raises DiagnosticError for a layer out of range, a
        site that the model lacks, a text beyond the context, or more memory than there is.
        """

    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """While open, generation keeps what is wanted of these prompts as it prefills them, so that `run` need not
        compute it. Only wants on the text "prompt" can ride; the others are left to `run`."""

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        """The tokens at the positions of a want; of `Steps`, the tokens that were decided there. Raises as
        `run` does."""

    def gradients(
        self, wants: Sequence[Want], prompts: Sequence[Prompt], tokens: Sequence[int], edits: Sequence[Edit] = ()
    ) -> Acts:
        """The gradient of each prompt's refusal score with respect to the activations at each want, in the shape that
        `run` gives them: log(P + 1e-8) - log(1 - P + 1e-8), P the probability that the answer opens with one of
        `tokens`. With `edits`, of the edited model, with respect to the edited activations. One forward and one
        backward pass; needs wants that keep rows of the text "prompt". Raises as `run` does."""

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
        """What each part of the model adds to the mean logit of the tokens `positive` less that of `negative`, at the
        last token of each prompt; one pass.

        `top` neurons are found by their mean effect, prompts counting by `weights` (None: each the same): weights of
        both signs find what tells two cohorts apart. `neurons` are followed prompt by prompt. Raises DiagnosticError
        for tokens or neurons that the model lacks, a token on both sides, and a final norm that is neither an RMS norm
        nor a layer norm; otherwise as `run` does."""

    def generate(
        self, prompts: Sequence[Prompt], max_tokens: int, edits: Sequence[Edit] = (), raw: bool = False
    ) -> tuple[Written, ...]:
        """Greedy answers, in the order of the prompts, under edits that may differ between them; `raw` as for wants."""

    def edited(self, edits: Sequence[Edit]) -> AbstractContextManager[None]:
        """While open, everything that this model does is done under the edits, answering requests included. They must
        be the same for all rows: raises DiagnosticError for a dose by prompt id, or a patch."""

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
        """Which weights the loss on the answers of each cohort depends on: one backward pass an example for all
        layers. `depth` is the share of each matrix to keep; `raw` as for wants; `drop_first` leaves out the first token
        of every answer, as a published procedure does. Raises DiagnosticError for an example without an answer, an
        empty cohort, weights that have no gradient (quantised), or more memory than there is."""

    def masked(self, entries: Mapping[tuple[str, int | None], NDArray[np.int64]]) -> AbstractContextManager[None]:
        """While open, these weights are zero: places in the flattened matrix, by the matrix's name and expert."""
