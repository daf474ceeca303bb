"""The samples of the study, and the part of it that each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from deepsight_causal import Cases, Split, cases, split
from numpy.typing import NDArray

from deepsight_core.evidence import Evidence

Ints = NDArray[np.int64]
Part = Literal["fit", "choose", "report"]

FEWEST = 8
"""Samples of a class that did what is expected of it, without which the direction is fitted on all."""


@dataclass(frozen=True, eq=False)
class Samples(Cases):
    """Cases in three parts that share no cluster."""

    parts: Split

    def rows(self, part: Part, positive: bool, most: int | None = None) -> Ints:
        """Rows of one side in one part, at most so many."""
        return self.drawn([row for row in getattr(self.parts, part) if self.y[row] == positive], most)

    def as_expected(self) -> tuple[Ints, bool]:
        """Rows of the fit part to fit on, and whether they were chosen by behaviour: positive ones that were refused,
        negative ones that were not. All of them where a side would keep fewer than FEWEST."""
        fit = self.parts.fit
        kept = np.array([row for row in fit if self.refused[row] is bool(self.y[row])], dtype=np.int64)
        if min(np.bincount(self.y[kept], minlength=2)) >= FEWEST:
            return kept, True
        return fit, False


def samples(evidence: Evidence, refused: str, seed: int) -> Samples:
    """Raises DiagnosticError where a side of the contrast has too few clusters to be divided."""
    found = cases(evidence, refused)
    return Samples(**vars(found), parts=split(found.y, found.groups, seed))
