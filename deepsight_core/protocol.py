"""The frozen value objects that everybody exchanges; each survives a round trip through JSON unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, JsonValue, PlainSerializer, model_validator

from deepsight_core.figures import Figure
from deepsight_core.messages import (
    Audio as Audio,
    Image as Image,
    Message as Message,
    Role as Role,
    Text as Text,
    Value as Value,
    Words as Words,
    assistant as assistant,
    system as system,
    user as user,
)

PROTOCOL = 1
"""Version of these objects on disk; it moves when an old run directory could be misread."""

Label = bool | int | FiniteFloat | str

LogProbability = Annotated[
    float, PlainSerializer(lambda value: value if isfinite(value) else str(value), when_used="json")
]
"""In JSON, log 0 is the text "-inf", which is read back; null would not be."""


# --- What is known before anything is asked ------------------------------------------------------


class Sample(Value):
    """One item of a data set, before anything was asked."""

    id: str
    """Unique in its data set and derived from content, so that it survives `limit` and reordering."""
    messages: tuple[Message, ...]
    target: JsonValue = None
    """The reference answer, where there is one."""
    group: str | None = None
    """What belongs together (a pair, the stages or conditions of one item): drawn and resampled as one."""
    labels: Mapping[str, Label] = {}
    """What is known about the prompt, e.g. {"harmful": True}: groups of scores, and contrasts of diagnostics."""
    metadata: Mapping[str, JsonValue] = {}

    @property
    def question(self) -> tuple[Message, ...]:
        """What is asked: the messages, less a last one of the assistant, which is an answer that the data bring."""
        given = len(self.messages) > 1 and self.messages[-1].role == "assistant"
        return self.messages[:-1] if given else self.messages

    @property
    def cluster(self) -> str:
        """The unit of sampling and of resampling: the group, or the sample itself."""
        return self.group if self.group is not None else self.id


def content_id(*parts: object) -> str:
    """A stable id of 12 hexadecimal digits for whatever makes an item what it is."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:12]


def short_hash(text: str) -> int:
    """64 bits that stand for a text where millions of them must be told apart in little memory."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


# --- What is asked and answered --------------------------------------------------------------


class Generate(Value):
    """A request for text."""

    type: Literal["generate"] = "generate"
    messages: tuple[Message, ...]
    max_tokens: int = Field(512, ge=1)
    temperature: float = Field(0.0, ge=0)
    """0 is greedy decoding."""
    top_p: float = Field(1.0, gt=0, le=1)
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """Filled in by the engine from the run's seed, the sample and the step where the program leaves it open."""
    samples: int = Field(1, ge=1)
    """With n > 1 the program is sent a list of n outputs."""
    role: str = "target"
    tag: str = ""
    """A name by which judges and metrics find the reply in a longer transcript."""


class LogLikelihood(Value):
    """A request for the log-probability of each continuation after the messages."""

    type: Literal["loglikelihood"] = "loglikelihood"
    messages: tuple[Message, ...]
    continuations: tuple[str, ...]
    role: str = "target"
    tag: str = ""


Request = Generate | LogLikelihood


class Output(Value):
    """An answer, or the reason why there is none."""

    type: Literal["output"] = "output"
    text: Words = ""
    reasoning: Words | None = None
    """The model's thinking, where it is marked as such; never part of `text`."""
    stop: Literal["stop", "length", "filter", "error"] = "stop"
    tokens_in: int = 0
    """Prompt tokens, padding not counted."""
    tokens_out: int = 0
    seconds: float | None = None
    """Time from the request's batch entering the model to its answer."""
    error: Words | None = None

    @model_validator(mode="after")
    def _error_says_why(self) -> Self:
        if (self.stop == "error") != (self.error is not None):
            raise ValueError("stop is 'error' exactly when there is an error message")
        return self


class Likelihoods(Value):
    """Natural-log likelihood of each continuation (sum over its tokens), and its token count."""

    type: Literal["likelihoods"] = "likelihoods"
    values: tuple[LogProbability, ...] = ()
    tokens: tuple[int, ...] = ()
    error: Words | None = None


Reply = Annotated[Output | Likelihoods, Field(discriminator="type")]

Steps = Generator[Any, Any, Output]
"""A protocol as a program: yields a request or a list of them, is sent the replies in the same shape,
and returns the output that is to be judged."""


class Exchange(Value):
    """One request of a program and its reply."""

    request: Annotated[Request, Field(discriminator="type")]
    reply: Reply


# --- What is concluded -----------------------------------------------------------------------


class Judgement(Value):
    """A judge's verdict on one record."""

    judge: str
    label: str | None = None
    score: float | None = None
    categories: tuple[str, ...] = ()
    reason: Words = ""
    status: Literal["scored", "unparsed", "failed"] = "scored"
    """unparsed: the judge could not decide; failed: the machinery broke. Neither is a verdict on the model."""

    @model_validator(mode="after")
    def _scored_says_what(self) -> Self:
        if self.status == "scored" and self.label is None and self.score is None:
            raise ValueError("a scored judgement needs a label or a score; what could not be decided is 'unparsed'")
        return self


class Record(Value):
    """All that is known about one sample of a run: one line of records.jsonl."""

    dataset: str
    sample: Sample
    epoch: int = 0
    transcript: tuple[Exchange, ...] = ()
    """Every exchange of a longer program; left empty when it would only repeat the sample and the output."""
    output: Output
    judgements: tuple[Judgement, ...] = ()

    @property
    def id(self) -> str:
        return self.sample.id

    def judgement(self, judge: str | None = None) -> Judgement | None:
        """The verdict of the named judge; without a name, of the first."""
        for judgement in self.judgements:
            if judge in (None, judgement.judge):
                return judgement
        return None

    def replies(self, tag: str) -> tuple[Output | Likelihoods, ...]:
        """The replies to all requests that carry this tag, in the order in which they were asked."""
        return tuple(exchange.reply for exchange in self.transcript if exchange.request.tag == tag)


class Measurement(Value):
    """A metric's value over one group of records."""

    dataset: str
    metric: str
    value: float | None
    """None when nothing could be scored: an empty denominator is not 0."""
    low: float | None = None
    high: float | None = None
    """95 % interval; `method` says which."""
    method: Literal["wilson", "cluster bootstrap", "none"] = "none"
    count: int
    """Scored records."""
    clusters: int = 0
    """Independent units among them."""
    unscored: int = 0
    worst: float | None = None
    best: float | None = None
    """The value if every unscored record had gone the bad, or the good, way."""
    group: str = "all"
    better: Literal["higher", "lower", "neither"] = "neither"
    judge: str | None = None
    unit: str = ""


class Site(Value):
    """A place in a network. Layers count decoder blocks from 0; `resid_out` of layer l leaves block l."""

    kind: str
    layer: int | None = None
    head: int | None = None
    unit: int | None = None
    position: str | None = None


class Finding(Value):
    """One number about a model's inside, with what makes it trustworthy."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    """95 % interval, usually a bootstrap over samples."""
    null_low: float | None = None
    null_high: float | None = None
    """Where 95 % of the values lie when there is nothing to find (permuted labels, random directions)."""
    p: float | None = None
    count: int | None = None
    """Samples on which it rests."""
    site: Site | None = None
    summary: str = ""
    unit: str = ""
    headline: bool = False
    """Worth the first page of a report."""
    evidence: Literal["correlational", "intervention", "control"] = "correlational"
    samples: tuple[str, ...] = ()


class Diagnosis(Value):
    """What a diagnostic concluded. Findings of one name that differ in layer form a layer profile."""

    diagnostic: str
    mode: str = ""
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    table: Mapping[str, Mapping[str, float | str | None]] = {}
    """One row per sample id: its internal scores."""
    figures: tuple[Figure, ...] = ()
    """What findings and table do not show by themselves: maps, trajectories."""
    artifacts: Mapping[str, str] = {}
    """Name to path, relative to the run directory."""
    caveats: tuple[str, ...] = ()
    error: str | None = None
    """Why it could not be made; the other diagnostics of the run are unaffected."""


class Manifest(Value):
    """Everything needed to rebuild a run, written before its first request."""

    protocol: int = PROTOCOL
    name: str
    created: str
    """UTC, ISO 8601."""
    deepsight: str
    seed: int
    config: Mapping[str, JsonValue]
    """The run file, every default filled in; `deepsight run manifest.json` runs it again."""
    components: Mapping[str, JsonValue]
    """Address to distribution, its version, and the component's comparability version."""
    models: Mapping[str, JsonValue]
    """Role to adapter, options and content digest."""
    data: tuple[Mapping[str, JsonValue], ...]
    """Data set by data set: options, source, samples in all and used, digest."""
    environment: Mapping[str, JsonValue]
    """Python, packages, hardware."""


class Report(Value):
    """A finished run, ready to be shown."""

    manifest: Manifest
    finished: str
    seconds: Mapping[str, float]
    """Wall time by phase."""
    counts: Mapping[str, int]
    """records, unscored, errors, tokens_in, tokens_out."""
    measurements: tuple[Measurement, ...]
    diagnoses: tuple[Diagnosis, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know: limits, missing judges, failed diagnostics."""
