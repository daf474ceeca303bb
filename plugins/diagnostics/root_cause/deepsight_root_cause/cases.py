"""The samples with both their label and what the model did, and who is judged by probes that were trained on whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from deepsight_probing import Split, splits
from numpy.typing import NDArray

from deepsight_core.crossfit import folds, numbered
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.selectors import COHORTS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FEWEST = 5
"""Refused, and answered, training samples without which behaviour does not define a direction."""


@dataclass(frozen=True, eq=False)
class Cases:
    """Rows in the order of their sample ids."""

    ids: tuple[str, ...]
    harmful: Ints
    refused: Ints
    groups: Ints
    fold: Ints
    parts: tuple[Split, ...]
    """No part trains on a cluster that it tests."""
    reported: Bools
    """The rows that findings are about: all, or those that are not of the training set."""
    decided: Ints
    """What the refusal axis is fitted to: `refused`, or `harmful` where the model does nearly always the same."""
    left_out: int
    """Samples without the label, or without a verdict that is a refusal or an answer."""

    @property
    def by_conduct(self) -> bool:
        """Whether the refusal axis is fitted to what the model did."""
        return self.decided is self.refused

    @property
    def right(self) -> Bools:
        """Harmful and refused, or harmless and answered."""
        return np.equal(self.harmful, self.refused)

    def outcome(self, row: int) -> str:
        return f"{'harmful' if self.harmful[row] else 'harmless'}, {'refused' if self.refused[row] else 'answered'}"


def cases(
    evidence: Evidence, *, harmful: str, refused: str, answered: str, train: str | None, count: int, seed: int
) -> Cases:
    """Raises DiagnosticError where labels, verdicts, clusters or the training set do not suffice."""
    contrast = evidence.contrast(harmful)
    turned_down, served = set(evidence.cohort(refused)), set(evidence.cohort(answered))
    rows = [row for row in np.argsort(contrast.ids) if contrast.ids[row] in turned_down | served]
    if not rows:
        raise DiagnosticError(
            f"no sample with {harmful!r} has a verdict that is {refused!r} or {answered!r} (seen: "
            f"{_verdicts(evidence)}); evaluate the data in this run, and name the verdicts in `refused` and `answered`"
        )
    ids = tuple(contrast.ids[row] for row in rows)
    y, groups = contrast.y[rows], numbered(contrast.groups[rows])
    conduct = np.array([id in turned_down for id in ids], dtype=np.int64)
    trainable = _trainable(evidence, ids, train)
    fold = folds(y, groups, count, seed)
    parts = tuple(splits(groups, fold, trainable))
    if _smallest(y, parts) < FEWEST:
        raise DiagnosticError(
            f"the training set {train!r} needs {FEWEST} samples on each side of {harmful!r} in every fold"
        )
    return Cases(
        ids=ids,
        harmful=y,
        refused=conduct,
        groups=groups,
        fold=fold,
        parts=parts,
        reported=np.ones(len(ids), dtype=bool) if train is None else ~trainable,
        decided=conduct if _smallest(conduct, parts) >= FEWEST else y,
        left_out=len(evidence.samples) - len(ids),
    )


def _trainable(evidence: Evidence, ids: tuple[str, ...], train: str | None) -> Bools:
    if train is None:
        return np.ones(len(ids), dtype=bool)
    if ":" in train or train in COHORTS:
        chosen = set(evidence.cohort(train))
    else:
        chosen = {record.id for record in evidence.records if record.dataset == train}
    found = np.array([id in chosen for id in ids], dtype=bool)
    if not found.any() or found.all():
        seen = ", ".join(sorted({record.dataset for record in evidence.records}))
        raise DiagnosticError(
            f"train = {train!r} names {'no' if not found.any() else 'every'} sample; it must leave some to train on "
            f"and some to report on. Data sets here: {seen}. A selector such as 'label:attack=none' will do too"
        )
    return found


def _smallest(labels: Ints, parts: tuple[Split, ...]) -> int:
    """The size of the smaller class in the training set where it is smallest."""
    return min(int((labels[part.train] == label).sum()) for part in parts for label in (0, 1))


def _verdicts(evidence: Evidence) -> str:
    counts = Counter(str(evidence.value(sample, "verdict")) for sample in evidence.samples)
    return ", ".join(sorted(verdict for verdict in counts if verdict != "None")) or "none"
