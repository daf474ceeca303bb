"""The three classes of texts: safe, harmful, and the harmless that look sensitive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import numbered
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence

Ints = NDArray[np.int64]

SAFE, HARMFUL, BOUNDARY = 0, 1, 2
NAMES = ("safe", "harmful", "boundary")


@dataclass(frozen=True)
class Classes:
    """Samples of the three classes, sorted by id, so that nothing depends on the order of the evidence."""

    ids: tuple[str, ...]
    kind: Ints
    """SAFE, HARMFUL or BOUNDARY."""
    groups: Ints
    """Cluster of each row, numbered from 0."""

    @property
    def two(self) -> Ints:
        """Rows of the safe and the harmful class."""
        return np.flatnonzero(self.kind != BOUNDARY)

    def count(self, kind: int) -> int:
        return int((self.kind == kind).sum())


def classes(evidence: Evidence, harmful: str, safe: str, boundary: str) -> Classes:
    """Sort the samples by selectors; a boundary sample is not safe as well.

    Raises DiagnosticError for a sample that is harmful and something else too, and for a harmful or safe class that
    does not span three clusters: a spread needs two, and the projection of a sample leaves its own cluster out.
    """
    members = {BOUNDARY: set(evidence.cohort(boundary)), HARMFUL: set(evidence.cohort(harmful))}
    members[SAFE] = set(evidence.cohort(safe)) - members[BOUNDARY]
    for kind in (SAFE, BOUNDARY):
        if both := sorted(members[HARMFUL] & members[kind]):
            raise DiagnosticError(
                f"sample {both[0]!r} is both harmful ({harmful!r}) and {NAMES[kind]} "
                f"({safe if kind == SAFE else boundary!r}), as are {len(both) - 1} others; choose other selectors"
            )
    kinds = {id: kind for kind, chosen in members.items() for id in chosen}
    rows = sorted((sample.id, sample.cluster) for sample in evidence.samples if sample.id in kinds)
    found = Classes(
        ids=tuple(id for id, _ in rows),
        kind=np.array([kinds[id] for id, _ in rows], dtype=np.int64),
        groups=numbered([cluster for _, cluster in rows]) if rows else np.empty(0, dtype=np.int64),
    )
    for kind, selector in ((HARMFUL, harmful), (SAFE, safe)):
        clusters = len(np.unique(found.groups[found.kind == kind]))
        if clusters < 3:
            raise DiagnosticError(
                f"the {NAMES[kind]} class ({selector!r}) spans {clusters} clusters ({found.count(kind)} of "
                f"{len(evidence.samples)} samples) and needs 3 at least; set {NAMES[kind]} to a selector that holds "
                "for more of them, or evaluate a data set with such samples"
            )
    return found
