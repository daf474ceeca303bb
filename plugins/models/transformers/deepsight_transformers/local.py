"""What all models share that run in this process through the transformers library."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, JsonValue, PrivateAttr, model_validator

from deepsight_core import Generate, Inbox, Likelihoods, LogLikelihood, Model, Output, Request, Ticket
from deepsight_core.components import Capability
from deepsight_core.errors import ModelError
from deepsight_transformers.reasoning import MARKERS, Markers

if TYPE_CHECKING:
    from deepsight_torch import TransformersInside

    from deepsight_transformers.session import Session


@dataclass(frozen=True)
class Checkpoint:
    """Which weights to load."""

    id: str
    """A repository on the hub, or a folder."""
    revision: str | None = None
    adapter: str | None = None
    trust_remote_code: bool = False


class LocalModel(Model):
    """A causal language model in this process. A subclass says which one by defining `checkpoint`.

    Requests are decoded together, whatever their sampling settings; answers do not depend on their company beyond the
    rounding of batched arithmetic. `Output.tokens_out` counts every generated token, the end token included. Only what
    a request says applies: a checkpoint's suggested temperature, top_k or repetition penalty does not.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"text", "loglikelihood", "whitebox"})

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: the checkpoint's own on an accelerator, float32 on a CPU."""
    device: str = "auto"
    """auto: the first accelerator, else the CPU; or cpu, cuda, cuda:1, mps, ..."""
    device_map: str | dict[str, JsonValue] | None = None
    """Spread the weights over several devices, as accelerate understands it (e.g. "auto"); replaces `device`."""
    template: str | None = None
    """None: the tokenizer's chat template; "plain": the messages' text; or a file, or Jinja text."""
    template_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Passed to the template, e.g. {"enable_thinking": false}."""
    reasoning_markers: Markers = MARKERS
    """Beginning and end of what is a model's thinking, not its answer."""
    token_budget: int | None = Field(None, ge=1)
    """Most columns (padded prompt + max_tokens, over all rows) to decode at once; None chooses by the device."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of torch while the model is open; None leaves them as they are."""

    _session: Session | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.device_map is not None and self.device != "auto":
            raise ValueError("device and device_map both say where the weights go; give one of them")
        return self

    def checkpoint(self) -> Checkpoint:
        """Which weights to load. Called when the model is opened: it may unpack or download them."""
        raise NotImplementedError(f"{type(self).__name__} must define checkpoint()")

    def open(self) -> None:
        """Load the weights. Raises ConfigError or ModelError, which say what is missing and where to get it."""
        from deepsight_transformers.session import Session

        self._session = Session(self)

    def close(self) -> None:
        """Give the memory back."""
        if self._session is None:
            return
        self._session.end()
        self._session = None
        gc.collect()

    def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Output | Likelihoods]]:
        return self._opened.service().serve(inbox)

    def generate(self, requests: Sequence[Generate]) -> list[Output]:
        return [reply for reply in self._replies(requests) if isinstance(reply, Output)]

    def loglikelihood(self, requests: Sequence[LogLikelihood]) -> list[Likelihoods]:
        """Sum of log P over each continuation's tokens; `deepsight_transformers.likelihood` says how they are found."""
        return [reply for reply in self._replies(requests) if isinstance(reply, Likelihoods)]

    def digest(self) -> str:
        """sha256 of the weights in memory, configuration, tokenizer, chat template and reasoning markers."""
        return self._opened.digest

    def inside(self, store: Path | None = None) -> TransformersInside:
        """The same for as long as the model is open: the first call says where activations are kept. Captures ride on
        its generation."""
        return self._opened.looked_into(store)

    @property
    def _opened(self) -> Session:
        if self._session is None:
            raise ModelError(f"model {self.name!r} is not open: use it within `with model.opened():`")
        return self._session

    def _replies(self, requests: Sequence[Request]) -> list[Output | Likelihoods]:
        replies = dict(self.stream(_Listed(requests)))
        return [replies[ticket] for ticket in range(len(requests))]


class _Listed:
    """An inbox of requests that are all there from the beginning."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._left = list(enumerate(requests))

    def take(self, most: int, wait: bool = True) -> list[tuple[Ticket, Request]]:
        taken, self._left = self._left[:most], self._left[most:]
        return taken
