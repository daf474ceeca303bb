"""What is to be predicted, of whom: samples, their outcomes, and the clusters and data sets that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import numbered
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Sample
from deepsight_core.selectors import pieces

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """Samples, sorted by id so that nothing depends on the order of the evidence, and what became of them."""

    name: str
    ids: tuple[str, ...]
    y: Ints
    """1 where it happened."""
    groups: Ints
    """Cluster number of each row."""
    data: Ints
    """Number of each row's data set."""
    datasets: tuple[str, ...]
    texts: tuple[str, ...]
    """The user's words."""
    answers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def clusters(self) -> int:
        return int(self.groups.max()) + 1

    def happened(self, data: int | None = None) -> tuple[int, int]:
        """How many of all rows, or of one data set's, and out of how many."""
        rows = self.y if data is None else self.y[self.data == data]
        return int(rows.sum()), len(rows)


def questions(evidence: Evidence, outcome: str, harmful: str, refused: str) -> list[Question]:
    """Of the outcome `failure`, two: which harmful samples were not refused, which harmless ones were. They are asked
    apart, because together they are one class that has nothing in common. Of a selector, one, over all samples for
    which it is known.

    Raises DiagnosticError when there are no scored records.
    """
    if outcome != "failure":
        wanted = pieces(outcome)
        yes = set(evidence.cohort(outcome))
        known = [
            sample for sample in evidence.samples if all(evidence.value(sample, one.what) is not None for one in wanted)
        ]
        name = outcome if len(wanted) > 1 else outcome.partition(":")[2]
        return [_question(evidence, name, known, [sample.id in yes for sample in known])]
    turned_down = set(evidence.cohort(refused))
    labelled = {sample.id: evidence.value(sample, harmful) for sample in evidence.samples}
    judged = [sample for sample in evidence.samples if evidence.value(sample, "verdict") is not None]
    sides = {True: "harmful and not refused", False: "harmless and refused"}
    found = []
    for side, name in sides.items():
        known = [sample for sample in judged if labelled[sample.id] is not None and bool(labelled[sample.id]) == side]
        if known:
            found.append(_question(evidence, name, known, [(sample.id in turned_down) != side for sample in known]))
    if not found:
        raise DiagnosticError(
            f"no sample has both the label {harmful!r} and a scored verdict; evaluate a data set whose prompts carry "
            "it, or set outcome to a verdict"
        )
    return found


def _question(evidence: Evidence, name: str, samples: Sequence[Sample], happened: Sequence[bool]) -> Question:
    if not samples:
        raise DiagnosticError(f"no sample has a value for the outcome {name!r}; evaluate a data set in this run")
    rows = sorted(zip(samples, happened, strict=True), key=lambda row: row[0].id)
    home: Mapping[str, str] = {record.id: record.dataset for record in evidence.records}
    answer = {record.id: record.output.text for record in evidence.records}
    sets = tuple(dict.fromkeys(home.get(sample.id, "") for sample, _ in rows))
    return Question(
        name=name,
        ids=tuple(sample.id for sample, _ in rows),
        y=np.array([yes for _, yes in rows], dtype=np.int64),
        groups=numbered([sample.cluster for sample, _ in rows]),
        data=np.array([sets.index(home.get(sample.id, "")) for sample, _ in rows], dtype=np.int64),
        datasets=sets,
        texts=tuple("\n".join(m.text for m in sample.messages if m.role == "user") for sample, _ in rows),
        answers=tuple(answer.get(sample.id, "") for sample, _ in rows),
    )
