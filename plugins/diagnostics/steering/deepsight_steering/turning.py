"""For each failure, the smallest dose that turns it, and what that dose does to the samples that were right."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf
from typing import Literal

import numpy as np
from deepsight_causal import Cases

from deepsight_steering.curves import Floats, crossing
from deepsight_steering.response import Response

Kind = Literal["not refused", "refused"]
TURN = 0.0
"""Log-odds at which a refusal is as likely as anything else."""


@dataclass(frozen=True)
class Turned:
    """A sample that failed."""

    id: str
    dose: float | None
    """The smallest dose towards the right answer at which its score turns; None: not within the doses."""
    others: float | None
    """Share of the right samples of the other side whose score this dose turns as well; None where there are none."""
    loss: float | None
    """Rise of the loss on neutral text at this dose, in nats a token."""


@dataclass(frozen=True)
class Failures:
    """Failures of one kind."""

    kind: Kind
    """`not refused`: positive samples that were answered; `refused`: negative samples that were refused."""
    turned: tuple[Turned, ...]
    elsewhere: int
    """Failures that the score does not show without an edit: more than the first token decides them."""

    @property
    def median(self) -> float | None:
        """Of the turning doses, with those that never turn as the largest; None where that is one of them."""
        sense = 1 if self.kind == "not refused" else -1
        doses = sorted(inf if one.dose is None else sense * one.dose for one in self.turned)
        middle = doses[(len(doses) - 1) // 2] if doses else inf
        return None if isinf(middle) else sense * middle


def failures(
    given: Cases, positive: Response, negative: Response, doses: Floats, neutral: Floats, kind: Kind
) -> Failures:
    """`neutral` is the mean loss on neutral text by dose. Failures are turned upwards if they were not refused."""
    wrong, right = (positive, negative) if kind == "not refused" else (negative, positive)
    did = kind == "refused"  # the failing ones were refused; so the right ones of the other side were too
    zero = int(np.flatnonzero(doses == 0)[0])
    walk = slice(zero, None, -1 if did else 1)
    sense = -1 if did else 1

    def turning(of: Response) -> dict[str, float | None]:
        """By id, of samples whose verdict and score agree without an edit."""
        return {
            given.ids[row]: crossing(doses[walk], score[walk], TURN)
            for row, score in zip(of.rows, of.scores, strict=True)
            if given.refused[row] is did and sense * (score[zero] - TURN) < 0
        }

    others = turning(right)
    failed = sum(given.refused[row] is did for row in wrong.rows)
    found = []
    for id, dose in turning(wrong).items():
        if dose is None:
            found.append(Turned(id, None, None, None))
            continue
        also = [other is not None and abs(other) <= abs(dose) for other in others.values()]
        loss = float(np.interp(dose, doses, neutral) - neutral[zero])
        found.append(Turned(id, dose, sum(also) / len(also) if also else None, loss))
    return Failures(kind, tuple(found), failed - len(found))
