"""Numbers of one answer, and their means over answers with interval and null: what findings are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import cluster_means, percentile_interval, permutation_p
from deepsight_mi_peaks.peaks import Flags, peaks
from deepsight_mi_peaks.study import Course

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """One answer that has steps, with what was measured of it."""

    id: str
    cluster: str
    words: tuple[str, ...]
    """The token that was decided at each step."""
    course: Course
    main: int

    @property
    def trajectory(self) -> Floats:
        """Dependence on its own reference answer at the main layer, (steps,)."""
        return np.asarray(self.course.own[self.main])

    @property
    def flags(self) -> Flags:
        return peaks(self.trajectory)


@dataclass(frozen=True)
class Frame:
    """What all findings share."""

    answers: Sequence[Answer]
    partners: NDArray[np.int64]
    """(answers, partners): whose reference answers each answer was held against besides its own."""
    site: Site
    resamples: int
    seed: int

    def mean(self, name: str, values: Sequence[float | None], **more: object) -> Finding:
        """The mean over the answers that have a value, with a bootstrap interval over clusters; None without any."""
        known = [(value, one.cluster) for value, one in zip(values, self.answers, strict=True) if value is not None]
        fields: dict[str, object] = {"name": name, "value": None, "count": len(known), "site": self.site, **more}
        if known:
            numbers, clusters = zip(*known, strict=True)
            fields["value"] = float(np.mean(numbers))
            if len(set(clusters)) > 1:
                fields["low"], fields["high"] = percentile_interval(
                    cluster_means(numbers, clusters, self.resamples, self.seed)
                )
        return Finding.model_validate(fields)

    def against_shuffled(self, name: str, statistic: Callable[[Floats], Floats], **more: object) -> Finding:
        """The mean over answers of a statistic of trajectories, beside what it is under random orders of the reference
        answers' coordinates. The statistic maps (..., steps) to (...)."""
        values = [float(statistic(one.trajectory)) for one in self.answers]
        null = np.mean([statistic(one.course.shuffled) for one in self.answers], axis=0)
        low, high = percentile_interval(null)
        return self.mean(
            name, values, null_low=low, null_high=high, p=permutation_p(float(np.mean(values)), null), **more
        )
