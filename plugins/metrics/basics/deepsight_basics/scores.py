"""Agreement with a reference answer, and the mean of a judge's scores."""

from __future__ import annotations

from typing import ClassVar

from deepsight_basics.direction import Directed, Direction
from deepsight_basics.verdicts import verdict
from deepsight_core import Metric, Record


class Accuracy(Metric):
    """Share of answers that are right, in [0, 1]; higher is better.

    Where the judge gives a label, right means that the label is the sample's target (or one of them, if the target is
    a list); a number is compared as it is written. Where it gives only a score, it has compared the answer itself, and
    the score, 0 to 1, counts. A verdict that can be compared with nothing is unscored.
    """

    name: ClassVar[str] = "accuracy"
    better: ClassVar[Direction] = "higher"

    def per_record(self, record: Record) -> float | None:
        judgement, target = verdict(self, record), record.sample.target
        if judgement is None:
            return None
        if judgement.label is None:
            return judgement.score
        if target is None:
            return None
        accepted = target if isinstance(target, list) else [target]
        return float(judgement.label in (str(answer) for answer in accepted))


class MeanScore(Directed):
    """Mean of the judge's scores, on the judge's own scale.

    Which way is good depends on the judge: say it with `direction`. The scale is not known here, so no worst and best
    case over unscored answers can be given.
    """

    name: ClassVar[str] = "mean-score"
    bounds: ClassVar[tuple[float, float] | None] = None

    @property
    def title(self) -> str:
        return "mean score"

    def per_record(self, record: Record) -> float | None:
        judgement = verdict(self, record)
        return None if judgement is None else judgement.score
