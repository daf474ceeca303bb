"""What a run knows, offered to diagnostics: records, prompts, and cohorts by label or by verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import ConfigError, DiagnosticError
from deepsight_core.inside import Inside, Prompt
from deepsight_core.protocol import Label, Record, Sample
from deepsight_core.selectors import Piece, pieces


@dataclass(frozen=True)
class Contrast:
    """Two cohorts, positive (1) and negative (0), aligned by row."""

    name: str
    ids: tuple[str, ...]
    y: NDArray[np.int64]
    groups: NDArray[np.int64]
    """Cluster number of each row: rows of one cluster go to the same fold and are resampled together."""
    texts: tuple[str, ...]
    """The user's words, for lexical and length controls."""
    left_out: int = 0
    """Samples that carry no such label or verdict."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Repeat:
    """Samples asked twice: records of the run, and records of the same samples under an edit, row by row."""

    before: tuple[Record, ...]
    after: tuple[Record, ...]


class Again(Protocol):
    """Asks samples of the run again while the model is edited, and judges the answers as before."""

    def __call__(self, name: str, edited: AbstractContextManager[None], ids: Sequence[str] | None = None) -> Repeat:
        """`name` says what was changed, and is unique within the diagnosis; `edited` is what `Inside.edited` or
        `Inside.masked` gives; `ids` are sample ids that were evaluated, None for all of the run. Raises DiagnosticError
        when none of them was."""


@dataclass(frozen=True)
class Evidence:
    """The samples that were evaluated and, once they are there, their records."""

    samples: tuple[Sample, ...]
    records: tuple[Record, ...] = ()
    """In the same order as samples; empty before the evaluation. The first epoch where there are several."""
    contrast_by: str = "label:harmful"
    judge: str | None = None
    """Whose verdicts count for verdict cohorts; None for each record's first judge."""
    again: Again | None = field(default=None, repr=False, compare=False)
    """Asks samples of the run again under an edit; None before the evaluation, and in a run that evaluates nothing."""
    others: Mapping[str, Inside] = field(default_factory=dict, repr=False, compare=False)
    """The other models that the diagnostic looks into, by role (`Diagnostic.roles`)."""
    _by_id: dict[str, Record] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_id.update((record.id, record) for record in self.records)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """One per sample; with the judged answer once there is one. Of data that bring their own answers, as a last
        message of the assistant, those."""
        return tuple(self._prompt(sample) for sample in self.samples)

    def record(self, id: str) -> Record | None:
        return self._by_id.get(id)

    def value(self, sample: Sample, selector: str) -> Label | None:
        """What `label:NAME` or `verdict` says of a sample; None when it is unknown or unscored."""
        source, _, name = selector.partition(":")
        if source == "label":
            return sample.labels.get(name)
        if source == "verdict":
            record = self._by_id.get(sample.id)
            judgement = record.judgement(self.judge) if record else None
            return judgement.label if judgement and judgement.status == "scored" else None
        raise ConfigError(f"unknown selector {selector!r}: write 'label:NAME' (what the data say) or 'verdict:LABEL'")

    def cohort(self, selector: str) -> tuple[str, ...]:
        """Ids of the samples for which the selector holds: `label:harmful`, `label:type=homonyms`, `verdict:refused`,
        several of these joined by " & ", or the name of such a combination (`jailbroken`, `over-refused`; see
        `deepsight_core.selectors`). Unscored records are in no cohort that a verdict decides."""
        wanted = pieces(selector)
        return tuple(sample.id for sample in self.samples if self._holds(sample, wanted))

    def contrast(self, selector: str | None = None) -> Contrast:
        """Positive and negative rows of a selector: the label true against false, the verdict against all other
        scored verdicts, a conjunction against all else of which every part is known. Raises DiagnosticError when either
        side is empty."""
        selector = selector or self.contrast_by
        wanted = pieces(selector)
        known = [
            sample for sample in self.samples if all(self.value(sample, piece.what) is not None for piece in wanted)
        ]
        y = np.array([self._holds(sample, wanted) for sample in known], dtype=np.int64)
        if not y.size or y.min() == y.max():
            side = "no sample carries it" if not y.size else f"all {y.size} samples are on one side"
            raise DiagnosticError(
                f"contrast {selector!r} needs samples on both sides, but {side}; "
                "choose another contrast or evaluate a data set that has both"
            )
        numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(sample.cluster for sample in known))}
        return Contrast(
            name=selector,
            ids=tuple(sample.id for sample in known),
            y=y,
            groups=np.array([numbers[sample.cluster] for sample in known], dtype=np.int64),
            texts=tuple(_user_text(sample) for sample in known),
            left_out=len(self.samples) - len(known),
        )

    def _holds(self, sample: Sample, wanted: Sequence[Piece]) -> bool:
        return all(piece.holds(self.value(sample, piece.what)) for piece in wanted)

    def _prompt(self, sample: Sample) -> Prompt:
        record = self._by_id.get(sample.id)
        given = sample.question != sample.messages
        answer = sample.messages[-1].text if given else None
        if record and not record.output.error:
            answer = record.output.text
        return Prompt(
            id=sample.id,
            messages=sample.question,
            answer=answer,
            target=sample.target if isinstance(sample.target, str) else None,
            labels=sample.labels,
        )


def _user_text(sample: Sample) -> str:
    return "\n".join(message.text for message in sample.messages if message.role == "user")
