"""The samples of a contrast, what they were asked, and what the model did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import numbered
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Prompt
from deepsight_core.protocol import short_hash

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cases:
    """Rows sorted by sample id, so that nothing depends on the order of the evidence."""

    ids: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    y: Ints
    """1 for the contrast's positive side (what should be refused), 0 for the other."""
    groups: Ints
    """Cluster number of each row."""
    refused: tuple[bool | None, ...]
    """None where there is no scored verdict."""

    def asked(self, rows: Sequence[int] | Ints) -> list[Prompt]:
        return [self.prompts[row] for row in rows]

    def drawn(self, rows: Sequence[int] | Ints, most: int | None) -> Ints:
        """These rows; of more than `most`, those whose ids have the smallest hashes, in their order."""
        found = [int(row) for row in rows]
        if most is not None and len(found) > most:
            found = sorted(sorted(found, key=lambda row: short_hash(self.ids[row]))[:most])
        return np.array(found, dtype=np.int64)


def cases(evidence: Evidence, refused: str = "verdict:refused") -> Cases:
    """The run's contrast as cases. Raises DiagnosticError where a side is empty, or `refused` names no verdict."""
    if not refused.startswith("verdict:"):
        raise DiagnosticError(f"refused must be a verdict such as 'verdict:refused', not {refused!r}")
    contrast = evidence.contrast()
    order = np.argsort(contrast.ids)
    ids = tuple(contrast.ids[row] for row in order)
    prompts = {prompt.id: prompt for prompt in evidence.prompts}
    verdicts = {sample.id: evidence.value(sample, "verdict") for sample in evidence.samples}
    turned_down = set(evidence.cohort(refused))
    return Cases(
        ids,
        tuple(prompts[id] for id in ids),
        contrast.y[order],
        numbered(contrast.groups[order]),
        tuple(None if verdicts[id] is None else id in turned_down for id in ids),
    )
