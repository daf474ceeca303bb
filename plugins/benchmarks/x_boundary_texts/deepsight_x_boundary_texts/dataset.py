"""The texts as samples: prompt and answer together, to be read by a model rather than asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from deepsight_core import Dataset, Sample, Source, content_id
from deepsight_core.errors import SourceError
from deepsight_x_boundary_texts.selection import boundary_texts, digest, harmful_texts, safe_texts

Class = Literal["harmful", "safe", "boundary"]

_X_BOUNDARY = "https://raw.githubusercontent.com/AI45Lab/X-Boundary/7d7c90361b0189f78823c0f523add96ff906bc1f/data/train"
_ULTRACHAT = (
    "https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k/resolve/8049631c405ae6576f93f445c6b8166f76f5505a/data"
)
_READERS = {"harmful": harmful_texts, "safe": safe_texts, "boundary": boundary_texts}


class XBoundaryTexts(Dataset):
    """The three classes of the X-Boundary diagnostic: harmful, safe, and boundary texts, which only look harmful.

    Harmful requests with harmful answers (circuit breakers, Zou et al. 2024, arXiv:2406.04313), UltraChat dialogues
    (Ding et al. 2023, arXiv:2305.14233), OR-Bench prompts with helpful answers (Cui et al. 2024, arXiv:2405.20947).
    Each sample ends with the answer. A diagnostic reads both; an evaluation asks for a new answer.
    """

    name: ClassVar[str] = "x-boundary-texts"
    breakdown: ClassVar[tuple[str, ...]] = ("source",)
    classes: tuple[Class, ...] = Field(("harmful", "safe", "boundary"), min_length=1)
    """Which classes to read, in this order; the files of the others are not needed."""
    per_class: int = Field(200, ge=1)
    """Texts of each class; the published number is 200."""
    harmful: Source = Source(
        url=f"{_X_BOUNDARY}/circuit_breakers_train_2400.json", file="xboundary/circuit_breakers_train_2400.json"
    )
    """Rows with `prompt` and `output`. `path` may name any JSON array, .jsonl or .parquet file with these fields."""
    safe: Source = Source(
        url=f"{_ULTRACHAT}/test_sft-00000-of-00001-f7dfac4afe5b93f4.parquet",
        file="xboundary/ultrachat_test_sft.parquet",
        sha256="c18fd6e77395577652bdefbc5a87044ea799e989451ecfca5c6cf977ae5c6f70",
        licence="MIT",
    )
    """Rows with `messages`, a list of messages with `role` and `content`."""
    boundary: Source = Source(
        url=f"{_X_BOUNDARY}/ORbench_retain_set.json",
        file="xboundary/ORbench_retain_set.json",
        sha256="425fa1d439229fda8089dc6b95bf511c8c36b38b774f77203faaaba1a4313768",
    )
    """Rows with `prompt`, `completion` and `status`."""

    def samples(self) -> Iterator[Sample]:
        """The texts class by class, in the published order. Raises SourceError, naming file, row and field, for what
        is malformed, and for a file that holds fewer texts than asked for."""
        seen: Counter[str] = Counter()
        for name in self.classes:
            for dialogue in _READERS[name](self._file(name), self.per_class):
                text = f"{name}-{content_id(digest(dialogue))}"
                seen[text] += 1
                yield Sample(
                    # the published rules count a text that a file holds twice; its copies are one cluster
                    id=text if seen[text] == 1 else f"{text}-{seen[text]}",
                    messages=dialogue,
                    group=text,
                    labels={"harmful": name == "harmful", "boundary": name == "boundary", "source": name},
                )

    def _file(self, name: Class) -> Path:
        source: Source = getattr(self, name)
        try:
            return source.fetch()
        except SourceError as error:
            raise type(error)(f"{error} (what is called source here is the option {name!r})") from error

    @model_validator(mode="after")
    def _three_sources(self) -> Self:
        if self.source is not None:
            raise ValueError("there are three sources: set harmful.path, safe.path or boundary.path instead of source")
        return self
