"""What a diagnostic asks to see of a model: sites, positions, and what is made of them before anything is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deepsight_core.messages import Value

# --- Positions: always relative to real tokens, never to padding ------------------------------


class Last(Value):
    """The last k tokens of the text, oldest first."""

    type: Literal["last"] = "last"
    k: int = Field(1, ge=1)


class EndOfInstruction(Value):
    """The last token of the last user message, before the template's tail."""

    type: Literal["end-of-instruction"] = "end-of-instruction"


class PostInstruction(Value):
    """What the template writes between the last user message's words and the answer; may vary in number."""

    type: Literal["post-instruction"] = "post-instruction"


class All(Value):
    """Every token, template included; varies in number."""

    type: Literal["all"] = "all"


class Span(Value):
    """The tokens of a named part of the text; varies in number."""

    type: Literal["span"] = "span"
    name: str
    """`user` (the words of the last user message), `response` (those of the answer), `image` (all image tokens),
    `image:0` (those of the first image), `text` (all but image tokens)."""
    last: bool = False
    """Its last token only: the end of the words, where `Last` may be the end of the template."""


class Steps(Value):
    """Where each token of the answer was decided: the last token of the prompt, then every token of the answer but its
    last. Number i is the state that gave the answer's token i. Varies in number; needs the text "exchange"."""

    type: Literal["steps"] = "steps"
    stop: int | None = Field(None, ge=1)
    """Only the first so many."""


Positions = Annotated[Last | EndOfInstruction | PostInstruction | All | Span | Steps, Field(discriminator="type")]


def varies(where: Positions) -> bool:
    """Whether the number of positions differs from text to text."""
    return not (isinstance(where, Last | EndOfInstruction) or (isinstance(where, Span) and where.last))


# --- Reductions within a text: done where the activation is, before anything is kept ----------


class Keep(Value):
    """The vectors themselves. Positions that vary in number give one array a text (`Acts.each`)."""

    type: Literal["keep"] = "keep"


class MeanTokens(Value):
    """The mean over the chosen positions, accumulated in float32 or wider."""

    type: Literal["mean-tokens"] = "mean-tokens"


class Project(Value):
    """The scalar product with each of k fixed vectors: k numbers instead of a vector."""

    type: Literal["project"] = "project"
    vectors: tuple[tuple[float, ...], ...] = Field(min_length=1)


class Lens(Value):
    """Log-probabilities of chosen tokens if the model stopped here: the model's own final norm and head, scaled and
    capped as it does (the logit lens, nostalgebraist 2020). For sites of the residual stream."""

    type: Literal["lens"] = "lens"
    tokens: tuple[int, ...] = Field(min_length=1)


class TopK(Value):
    """The k likeliest tokens under the lens: k log-probabilities, likeliest first, then the k token ids."""

    type: Literal["top-k"] = "top-k"
    k: int = Field(10, ge=1)


class NextToken(Value):
    """The log-probability, under the lens, of the token that was decided there; one number. For positions `Steps`. At
    the site `final`, less the mean over an answer is the model's loss on it (cross-entropy, nats a token)."""

    type: Literal["next-token"] = "next-token"


Reduce = Annotated[Keep | MeanTokens | Project | Lens | TopK | NextToken, Field(discriminator="type")]


# --- What is kept over all texts --------------------------------------------------------------


class Rows(Value):
    """A row a text."""

    type: Literal["rows"] = "rows"


class ClassMoments(Value):
    """Count, mean and variance of each class, streamed: memory does not grow with the number of texts."""

    type: Literal["class-moments"] = "class-moments"
    by: str
    """The label of the prompts that names the class; prompts without it are in none."""


Collect = Annotated[Rows | ClassMoments, Field(discriminator="type")]

SiteKind = Literal[
    "embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron", "attn_prob", "router",
    "final", "logits", "vision", "projector",
]  # fmt: skip
"""`attn_out` and `mlp_out` are what is *added to the residual stream*; `head` is the input of the attention's output
projection (heads side by side), `neuron` the input of the MLP's down projection; `attn_prob` the attention of a token
to all positions up to it (eager attention only); `router` the logits over the experts; `final` follows the last norm;
`vision` leaves a block of the vision tower, `projector` is what an image becomes among the embeddings."""


class Want(Value):
    """What a diagnostic asks to see of every prompt."""

    site: SiteKind = "resid_out"
    layers: tuple[int, ...] | None = None
    """Blocks, from 0; None for all. Sites without layers (`embed`, `final`, `logits`, `projector`) ignore this."""
    positions: Positions = Last()
    reduce: Reduce = Keep()
    collect: Collect = Rows()
    text: Literal["prompt", "exchange", "target"] = "prompt"
    """prompt: as sent to the model, with the template's opening of the answer. exchange: prompt and answer together,
    re-read in one pass (teacher forcing), which gives the activations of step-by-step decoding. target: the reference
    answer by itself, without a template."""
    suffix: str = ""
    """Put after the answer, without a space; for the text "exchange"."""
    raw: bool = False
    """Without the chat template: the words as they are, with the tokenizer's own special tokens."""
    specials: bool = False
    """Let the tokenizer add its special tokens although the template has written them: some published procedures do."""
    truncate: int | None = None
    """Keep at most this many tokens of the text (from its start); None refuses what exceeds the context."""
