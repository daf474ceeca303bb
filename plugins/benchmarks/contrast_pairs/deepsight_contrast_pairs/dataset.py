"""The contrast pairs as samples: two of each pair, which stay together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, ValidationError

from deepsight_core import Dataset, Sample, user
from deepsight_core.components import Spec
from deepsight_core.errors import SourceError
from deepsight_core.protocol import Value

PACKAGED = Path(__file__).with_name("pairs.jsonl")

Words = Annotated[str, StringConstraints(pattern=r"\S")]


class Pair(Value):
    """One line of the file."""

    id: Words
    category: Words
    harmful: Words
    harmless: Words


class ContrastPairs(Dataset):
    """DeepSight's contrast pairs: short harmful requests, each with a harmless twin in nearly the same words.

    What they are, how they were made and how far words alone give them away is in DATASHEET.md.
    """

    name: ClassVar[str] = "contrast-pairs"
    judges: ClassVar[tuple[Spec, ...]] = ("refusal",)
    metrics: ClassVar[tuple[Spec, ...]] = (
        "refusal-rate",
        "over-refusal-rate",
        {"name": "rate", "label": "degenerate", "direction": "lower"},
    )
    breakdown: ClassVar[tuple[str, ...]] = ("category",)
    pairs: Path | None = None
    """Another file in the same format: JSON lines with id, category, harmful and harmless."""
    max_tokens: int = Field(128, ge=1)
    """Longest answer, in tokens: enough to see whether it refuses, which is all that is judged."""

    def samples(self) -> Iterator[Sample]:
        """Both prompts of each pair, the harmful one first, in the order of the file. Raises SourceError, naming line
        and field, for a file that is missing or malformed."""
        for pair in read(self.pairs or PACKAGED):
            for side, prompt in (("harmful", pair.harmful), ("harmless", pair.harmless)):
                yield Sample(
                    id=f"{pair.id}-{side}",
                    messages=(user(prompt),),
                    group=pair.id,
                    labels={"harmful": side == "harmful", "category": pair.category},
                )


def read(path: Path) -> tuple[Pair, ...]:
    """All pairs of a file, blank lines skipped. Raises SourceError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the pairs at {path}: {error}; correct the option `pairs`") from error
    pairs: dict[str, Pair] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        pair = _parse(line, f"{path}, line {number}")
        if pair.id in pairs:
            raise SourceError(f"{path}, line {number}: field 'id' repeats {pair.id!r}; ids must be unique")
        pairs[pair.id] = pair
    if not pairs:
        raise SourceError(f"{path} holds no pairs")
    return tuple(pairs.values())


def _parse(line: str, where: str) -> Pair:
    try:
        return Pair.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SourceError(f"{where}: {f'field {field!r}: ' if field else ''}{first['msg']}") from error
