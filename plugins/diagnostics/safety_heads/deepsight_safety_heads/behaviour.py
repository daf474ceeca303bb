"""What silencing a set of heads does to whole answers: the run's own questions, asked and judged again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepsight_core.change import verdict_change
from deepsight_core.errors import RunMismatch
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Inside
from deepsight_core.scoring import Comparison
from deepsight_safety_heads.silencing import Head, Towards, for_all


@dataclass(frozen=True)
class Conduct:
    """How often harmful prompts are refused before (`a`) and after (`b`)."""

    heads: Comparison
    random: Comparison
    """Under a random set of as many heads."""


def behaviour(
    evidence: Evidence,
    inside: Inside,
    heads: Sequence[Head],
    random: Sequence[Head],
    towards: Towards,
    ids: Sequence[str],
    refused: str,
    seed: int,
) -> tuple[Conduct | None, str]:
    """The change, or why there is none."""
    known = [id for id in ids if evidence.record(id) is not None]
    if evidence.again is None or not known:
        return None, "No answer was given again without the heads: this run evaluates nothing."
    label = refused.partition(":")[2]
    try:
        one, other = (
            verdict_change(
                evidence.again(name, inside.edited(for_all(silent, towards)), known), label, evidence.judge, known, seed
            )
            for name, silent in (("heads silenced", heads), ("random heads silenced", random))
        )
    except RunMismatch:
        return None, "No answer without the heads could be judged, so their effect on behaviour is unknown."
    return Conduct(one, other), ""
