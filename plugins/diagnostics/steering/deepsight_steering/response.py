"""The dose-response of one side of the contrast, beside that of random directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from deepsight_causal import Cases, RefusalTokens, beyond_random
from numpy.typing import NDArray

from deepsight_core.inside import Inside
from deepsight_core.statistics import cluster_means, percentile_interval
from deepsight_steering.curves import Floats, monotonicity, slope_at_zero
from deepsight_steering.doses import Ladder

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Statistic:
    """A mean over samples, with what random directions give."""

    value: float
    low: float
    high: float
    """95 % bootstrap interval over clusters."""
    null_low: float
    null_high: float
    p: float
    """Two-sided: that one more random direction lies as far out, on the samples that they were measured on."""
    count: int


@dataclass(frozen=True, eq=False)
class Response:
    """Refusal scores of one side under every dose."""

    name: str
    rows: Ints
    doses: Floats
    scores: Floats
    """Shape (rows, doses)."""
    random: Floats
    """Of the first of the rows, under random directions of the same length: shape (directions, samples, doses)."""
    groups: Ints

    @property
    def mean(self) -> Floats:
        return np.asarray(self.scores.mean(axis=0))

    @property
    def band(self) -> tuple[Floats, Floats]:
        """Where 95 % of the random directions' mean changes lie, put upon the mean without a dose: (doses,) each."""
        zero = int(np.flatnonzero(self.doses == 0)[0])
        changes = (self.random - self.random[:, :, [zero]]).mean(axis=1)
        low, high = np.quantile(changes, [0.025, 0.975], axis=0)
        return self.mean[zero] + low, self.mean[zero] + high

    def statistic(self, of: str, seed: int) -> Statistic:
        """`monotonicity` or `slope`."""
        measure = {"monotonicity": monotonicity, "slope": slope_at_zero}[of]
        values = measure(self.doses, self.scores)
        null = np.array([measure(self.doses, one).mean() for one in self.random])
        compared = values[: self.random.shape[1]].mean()
        low, high = percentile_interval(cluster_means(values, self.groups, seed=seed))
        null_low, null_high = percentile_interval(null)
        p = min(1.0, 2 * min(beyond_random(compared, null), beyond_random(-compared, -null)))
        return Statistic(float(values.mean()), low, high, null_low, null_high, p, len(values))


def respond(
    inside: Inside,
    given: Cases,
    name: str,
    rows: Ints,
    tokens: RefusalTokens,
    ladder: Ladder,
    random: Floats,
    compared: int,
) -> Response:
    """`random` has shape (directions, width); they are measured on at most `compared` samples."""
    prompts = given.asked(rows)
    return Response(
        name,
        rows,
        np.array(ladder.doses),
        ladder.scores(inside, prompts, tokens),
        np.stack([ladder.along(vector).scores(inside, prompts[:compared], tokens) for vector in random]),
        given.groups[rows],
    )
