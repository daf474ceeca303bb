"""The kinds of component. A component is a frozen pydantic model: its fields are its options, its docstring its help,
its dump what the manifest records. Constructing one is always cheap; `open` acquires what is heavy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from deepsight_core.errors import CapabilityError
from deepsight_core.protocol import (
    Diagnosis,
    Generate,
    Judgement,
    Likelihoods,
    LogLikelihood,
    Message,
    Output,
    Record,
    Request,
    Sample,
    Steps,
)
from deepsight_core.sources import Source

if TYPE_CHECKING:
    from deepsight_core.evidence import Evidence
    from deepsight_core.inside import Acts, Geometry, Inside, Want

Capability = Literal["text", "image", "audio", "loglikelihood", "whitebox"]
Ticket = int
Spec = str | Mapping[str, Any]
"""How one component refers to another: its name, or a table with its name and options."""


class Component(BaseModel):
    """What all kinds share."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
    )

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    """The name in its entry point, lower case with hyphens."""
    version: ClassVar[int] = 1
    """Comparability version: raise it whenever a number could move. Results of different versions do not compare."""

    def open(self) -> None:
        """Acquire what is heavy: weights, connections. Called once before use."""

    def close(self) -> None:
        """Release it again. Called once, also after an error."""

    @contextmanager
    def opened(self) -> Iterator[Self]:
        try:
            self.open()
            yield self
        finally:
            self.close()

    def options(self) -> dict[str, JsonValue]:
        """All options, defaults included, as JSON. No option may be a secret: keys come from the environment."""
        return self.model_dump(mode="json")

    def spec(self) -> dict[str, JsonValue]:
        """What a run file would say to get this component again."""
        return {"name": self.name, **self.options()}


class Dataset(Component):
    """A benchmark: samples, how to ask them, and how it is scored."""

    kind: ClassVar[str] = "dataset"
    judges: ClassVar[tuple[Spec, ...]] = ()
    metrics: ClassVar[tuple[Spec, ...]] = ()
    breakdown: ClassVar[tuple[str, ...]] = ()
    """Labels by whose values every metric is also reported."""
    roles: ClassVar[tuple[str, ...]] = ("target",)
    """The roles that `elicit` asks; a run that leaves one unbound is refused."""
    needs: ClassVar[tuple[Capability, ...]] = ("text",)
    """What the target must be capable of."""
    source: Source | None = None
    """Where the data lies; None for data that ships with the plugin."""
    limit: int | None = Field(None, ge=1)
    """Use at most this many samples: whole groups, drawn by hash, so that a smaller limit is part of a larger one."""
    epochs: int = Field(1, ge=1)
    """Ask every sample this many times."""
    max_tokens: int = Field(512, ge=1)
    """Longest answer, in tokens."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature of the answer; 0 is greedy."""

    def samples(self) -> Iterator[Sample]:
        """All samples in a stable order; every call starts anew. `limit` is applied by the engine."""
        raise NotImplementedError(f"{type(self).__name__} must define samples()")

    def ask(self, messages: Sequence[Message], **changes: Any) -> Generate:
        """A request with this data set's generation options."""
        return Generate(
            messages=tuple(messages), **{"max_tokens": self.max_tokens, "temperature": self.temperature, **changes}
        )

    def elicit(self, sample: Sample) -> Steps:
        """The protocol. The default asks once. Must be deterministic given the replies: it is replayed on resume."""
        output: Output = yield self.ask(sample.question)
        return output


class Judge(Component):
    """A verdict on one record: directly, or as a program that asks a model."""

    kind: ClassVar[str] = "judge"
    labels: ClassVar[tuple[str, ...]] = ()
    """All labels that it may give."""
    roles: ClassVar[tuple[str, ...]] = ()

    def judge(self, record: Record) -> Judgement | Generator[Any, Any, Judgement]:
        """Judge record.output, which is neither an error nor filtered: those the engine marks as failed itself."""
        raise NotImplementedError(f"{type(self).__name__} must define judge()")

    def verdict(self, label: str | None = None, **fields: Any) -> Judgement:
        """A Judgement in this judge's name."""
        return Judgement(judge=self.name, label=label, **fields)


class Metric(Component):
    """A number over records. Define `per_record` (the core aggregates, groups and bootstraps) or `compute`."""

    kind: ClassVar[str] = "metric"
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    """Smallest and largest value of a record, for worst/best over unscored ones; None when unbounded."""
    unit: ClassVar[str] = ""
    judge: str | None = None
    """The judge whose verdict counts; None for the data set's first."""

    @property
    def title(self) -> str:
        """The name in tables."""
        return self.name

    def covers(self, record: Record) -> bool:
        """Whether the record is in the metric's population at all (e.g. only harmful prompts)."""
        return True

    def per_record(self, record: Record) -> float | None:
        """The record's value; None when it is unscored."""
        raise NotImplementedError(f"{type(self).__name__} must define per_record() or compute()")

    def compute(self, records: Sequence[Record]) -> float | None:
        """The value over scored records, for what is not a mean of per-record values. `per_record` still says which
        records are scored."""
        raise NotImplementedError

    @classmethod
    def is_mean(cls) -> bool:
        return cls.compute is Metric.compute


class Inbox(Protocol):
    """Where a model finds its requests."""

    def take(self, most: int, wait: bool = True) -> list[tuple[Ticket, Request]]:
        """Up to `most` requests. With `wait`, blocks until there are some; an empty list then means that no more will
        come. Without, returns at once with what is there."""


class Model(Component):
    """A model, local or remote. A failed request is an Output with an error, never an exception."""

    kind: ClassVar[str] = "model"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"text"})
    window: ClassVar[int] = 256
    """How many requests the default `stream` takes at a time."""

    def generate(self, requests: Sequence[Generate]) -> list[Output]:
        """The simple contract: one output for each request, in order. `samples` is always 1 here."""
        raise CapabilityError(f"model {self.name!r} cannot generate text")

    def loglikelihood(self, requests: Sequence[LogLikelihood]) -> list[Likelihoods]:
        raise CapabilityError(f"model {self.name!r} cannot score continuations (capability 'loglikelihood')")

    def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Output | Likelihoods]]:
        """The fast contract: take requests as they come, yield replies as they finish."""
        while batch := inbox.take(self.window):
            texts = [(ticket, request) for ticket, request in batch if isinstance(request, Generate)]
            scores = [(ticket, request) for ticket, request in batch if isinstance(request, LogLikelihood)]
            if texts:
                outputs = self.generate([request for _, request in texts])
                yield from zip((ticket for ticket, _ in texts), outputs, strict=True)
            if scores:
                likelihoods = self.loglikelihood([request for _, request in scores])
                yield from zip((ticket for ticket, _ in scores), likelihoods, strict=True)

    def digest(self) -> str:
        """What the answers depend on: weights, config, tokenizer, chat template; for a remote model, its identity.
        Called on an opened model."""
        return ""

    def inside(self, store: Path | None = None) -> Inside:
        """The opened model's inside, for capability "whitebox". With `store`, a folder, captured activations are kept
        there and found again."""
        raise CapabilityError(f"model {self.name!r} cannot be looked into (capability 'whitebox')")


class Diagnostic(Component):
    """An interpretability technique: says what it wants to see, then concludes."""

    kind: ClassVar[str] = "diagnostic"
    needs: ClassVar[tuple[Capability, ...]] = ("whitebox",)
    roles: ClassVar[tuple[str, ...]] = ()
    """Other models that it looks into, beside the target (`Evidence.others`); a run that leaves one unbound is
    refused."""
    optional_roles: ClassVar[tuple[str, ...]] = ()
    """Those that it looks into where a run binds them, and can do without."""

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        """What to capture of evidence.prompts. Called before the evaluation, when evidence.records are still to come,
        and again after it: it may depend on samples and labels, not on answers."""
        raise NotImplementedError(f"{type(self).__name__} must define wants()")

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        """Raises DiagnosticError when the evidence does not suffice; the other diagnostics still run."""
        raise NotImplementedError(f"{type(self).__name__} must define diagnose()")


class Reporter(Component):
    """Writes a finished run in a form for people or programs."""

    kind: ClassVar[str] = "reporter"

    def write(self, run: Path) -> Path:
        """Write into the run directory and return the path. Reads report.json and records.jsonl there."""
        raise NotImplementedError(f"{type(self).__name__} must define write()")


KINDS: Mapping[str, type[Component]] = {cls.kind: cls for cls in (Dataset, Model, Judge, Metric, Diagnostic, Reporter)}
