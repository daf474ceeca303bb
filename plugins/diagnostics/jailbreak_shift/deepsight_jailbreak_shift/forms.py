"""Attacked prompts beside their plain forms: the same intent, asked twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from deepsight_root_cause.cases import Cases, Ints
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence


@dataclass(frozen=True, eq=False)
class Forms:
    """Row numbers of attacked prompts and, at the same place, of their plain forms."""

    attacked: Ints
    plain: Ints
    attacks: NDArray[np.str_]
    left_out: int
    """Attacked prompts without exactly one plain form of their group and label."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.attacks))))


def forms(evidence: Evidence, known: Cases, attack: str) -> Forms:
    """Attacked rows are those that `known` reports; `attack` is the selector that names the attack. Raises
    DiagnosticError when no attacked prompt has a plain form."""
    samples = {sample.id: sample for sample in evidence.samples}
    keys = [(samples[id].cluster, bool(y)) for id, y in zip(known.ids, known.harmful, strict=True)]
    plain_rows = np.flatnonzero(~known.reported)
    plain = {keys[row]: int(row) for row in plain_rows}
    counts = Counter(keys[row] for row in plain_rows)
    reported = np.flatnonzero(known.reported)
    paired = [int(row) for row in reported if counts[keys[row]] == 1]
    if not paired:
        raise DiagnosticError(
            "no attacked prompt shares its `group` and label with exactly one plain form; give both forms of an intent "
            "the same group, as the data set attacked-pairs does"
        )
    return Forms(
        attacked=np.array(paired, dtype=np.int64),
        plain=np.array([plain[keys[row]] for row in paired], dtype=np.int64),
        attacks=np.array([str(evidence.value(samples[known.ids[row]], attack)) for row in paired]),
        left_out=len(reported) - len(paired),
    )
