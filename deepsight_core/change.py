"""How often a verdict is given before and after an edit, on the same samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from deepsight_core.components import Metric
from deepsight_core.evidence import Repeat
from deepsight_core.protocol import Record
from deepsight_core.scoring import Comparison, compare


class _Share(Metric):
    """The share of scored records that a judge gave one label."""

    name: ClassVar[str] = "share"
    label: str

    def per_record(self, record: Record) -> float | None:
        judgement = record.judgement(self.judge)
        if judgement is None or judgement.status != "scored":
            return None
        return float(judgement.label == self.label)


def verdict_change(
    repeat: Repeat, label: str, judge: str | None = None, ids: Collection[str] | None = None, seed: int = 0
) -> Comparison:
    """The share of samples with this verdict before (`a`) and after (`b`), paired: a cluster bootstrap for the
    interval, exact McNemar for p where every sample is a cluster of its own, else sign flips over clusters.

    `judge` is the judge whose verdict counts, None for each record's first; `ids` narrows the samples. Samples that are
    unscored on either side are left out and counted. Raises RunMismatch when none is scored on both.
    """
    before, after = ([r for r in side if ids is None or r.id in ids] for side in (repeat.before, repeat.after))
    return compare("", _Share(label=label, judge=judge), before, after, seed)
