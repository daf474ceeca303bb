"""Held-out samples asked again under the dose that turns half of the failures, and judged as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepsight_causal import Cases, addition

from deepsight_core.change import verdict_change
from deepsight_core.errors import RunMismatch
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Inside
from deepsight_core.scoring import Comparison
from deepsight_steering.doses import Ladder
from deepsight_steering.response import Response
from deepsight_steering.turning import Failures, Kind


@dataclass(frozen=True)
class Change:
    """How often samples are refused before (`a`) and under (`b`) a dose."""

    kind: Kind
    """The failures that the dose was chosen for."""
    dose: float
    side: str
    comparison: Comparison


def confirmed(
    evidence: Evidence,
    inside: Inside,
    given: Cases,
    sides: Sequence[Response],
    ladder: Ladder,
    kinds: Sequence[Failures],
    label: str,
    seed: int,
) -> tuple[list[Change], list[str]]:
    """Both sides under the median dose of each kind of failure, and why any is missing."""
    if evidence.again is None:
        return [], ["Nobody was asked again: this run evaluates nothing that could be."]
    found, told = [], []
    for failures in kinds:
        if (dose := failures.median) is None:
            continue
        ids = {side.name: [given.ids[row] for row in side.rows if given.refused[row] is not None] for side in sides}
        edited = inside.edited(addition(ladder.vector, ladder.layer, dose))
        repeat = evidence.again(f"{failures.kind} {dose:+.3f}", edited, [id for some in ids.values() for id in some])
        for side, some in ids.items():
            try:
                change = verdict_change(repeat, label, evidence.judge, some, seed)
            except RunMismatch:
                told.append(f"No answer of the {side} samples at dose {dose:+.2f} could be judged.")
                continue
            found.append(Change(failures.kind, dose, side, change))
            if change.left_out:
                told.append(f"At dose {dose:+.2f}, {change.left_out} {side} samples were not scored both times.")
    return found, told
