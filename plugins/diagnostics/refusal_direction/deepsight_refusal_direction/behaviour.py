"""What the model does under the edits: held-out samples asked again, and judged as before."""

from __future__ import annotations

from dataclasses import dataclass

from deepsight_core.change import verdict_change
from deepsight_core.errors import RunMismatch
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Inside
from deepsight_core.scoring import Comparison
from deepsight_refusal_direction.candidates import Candidate
from deepsight_refusal_direction.samples import Samples
from deepsight_refusal_direction.trial import Floats, editors


@dataclass(frozen=True)
class Conduct:
    """How often one side is refused before (`a`) and after (`b`) an edit."""

    edit: str
    direction: Comparison
    control: Comparison
    """The same samples under a random direction."""


def behaviour(
    evidence: Evidence,
    inside: Inside,
    samples: Samples,
    candidate: Candidate,
    random: Floats,
    refused: str,
    most: int,
    seed: int,
) -> tuple[list[Conduct], list[str]]:
    """Ablation on positive samples and addition on negative ones, and why either is missing."""
    if evidence.again is None:
        return [], ["Nobody was asked again: this run evaluates nothing that could be."]
    label = refused.partition(":")[2]
    found, told = [], []
    for edit, editor in editors(candidate).items():
        rows = samples.rows("report", edit == "ablation", most)
        ids = [samples.ids[row] for row in rows if samples.refused[row] is not None]
        if not ids:
            told.append(f"Nobody was asked again under {edit}: no held-out sample of that side has a verdict.")
            continue
        try:
            changes = [
                verdict_change(
                    evidence.again(name, inside.edited(editor(vector)), ids), label, evidence.judge, ids, seed
                )
                for name, vector in ((edit, candidate.vector), (f"{edit} of a random direction", random[0]))
            ]
        except RunMismatch:
            told.append(f"No answer under {edit} could be judged, so its effect on behaviour is unknown.")
            continue
        found.append(Conduct(edit, *changes))
        if left := max(change.left_out for change in changes):
            told.append(f"Under {edit}, {left} of {len(ids)} answers were not scored both times and were left out.")
    return found, told
