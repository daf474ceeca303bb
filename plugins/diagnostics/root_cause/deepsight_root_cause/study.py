"""What is measured of every sample: recognition at the end of the instruction, decision at the last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import cosine, split_half_cosine
from deepsight_probing import Axes, Fit, Selected, axes, select
from numpy.typing import NDArray

from deepsight_core.protocol import Site
from deepsight_root_cause.cases import Cases
from deepsight_root_cause.causes import READINGS, Parting, causes, nearest, parting, readings
from deepsight_root_cause.recognition import Floats, Ranking, probes, recognition

SIGNIFICANT = 0.05
"""The p value up to which a reading counts and sentences speak of an effect."""


@dataclass(frozen=True, eq=False)
class Study:
    """All measurements, row by row as in `known`."""

    known: Cases
    layers: tuple[int, ...]
    last: NDArray[np.float32]
    """Activations at the last token, (rows, layers, width)."""
    recognised: Selected
    ranking: Ranking | None
    """None where the reported rows are all of one label in every fold."""
    harmfulness: Axes
    refusal: Axes
    fits: tuple[Fit, ...]
    """Probes of the decision at the last token, by layer."""
    decided: Selected
    read: tuple[str, ...]
    causes: tuple[str | None, ...]
    parting: Parting
    cosine: float
    """Of the two axes at the layer where the decision is read, over all training rows."""
    ceiling: float | None
    """The cosine that two estimates of one direction would have: the root of the product of split-half cosines."""

    @property
    def readable(self) -> bool:
        """Whether the probe reads more than shuffled labels give."""
        return self.ranking is None or self.ranking.p <= SIGNIFICANT

    @property
    def recognised_at(self) -> Site:
        return Site(kind="resid_out", layer=self.layers[self.recognised.usual], position="end-of-instruction")

    @property
    def decided_at(self) -> Site:
        return Site(kind="resid_out", layer=self.layers[self.decided.usual], position="last")

    @property
    def decision(self) -> Floats:
        """Every row's refusal coordinate at the layer that its fold chose."""
        return np.asarray(self.refusal.values[np.arange(len(self.known.ids)), self.decided.places])

    def row(self, row: int, score: float) -> dict[str, float | str | None]:
        """One line of the table. Where a failure has no layer of parting, its neighbours are those where the decision
        is read."""
        failed, parts = self.causes[row] is not None, int(self.parting.layers[row])
        at = parts if parts >= 0 else self.decided.usual
        p = float(self.recognised.probability[row])
        others = (self.known.harmful == self.known.harmful[row]) & (self.known.refused != self.known.refused[row])
        return {
            "outcome": self.known.outcome(row),
            "cause": self.causes[row],
            "confidence": max(p, 1 - p),
            "p(harmful)": p,
            "harmfulness": float(self.harmfulness.values[row, self.recognised.places[row]]),
            "refusal": float(self.decision[row]),
            "refusal score": score,
            "parts at layer": self.layers[parts] if failed and parts >= 0 else None,
            "nearest of the other outcome": "; ".join(nearest(self.last[:, at], row, others, self.known.ids)) or None
            if failed
            else None,
        }


def study(
    known: Cases,
    instruction: NDArray[np.float32],
    last: NDArray[np.float32],
    layers: Sequence[int],
    *,
    certainty: float,
    penalties: Sequence[float],
    permutations: int,
    resamples: int,
    seed: int,
) -> Study:
    """From activations at both positions, (rows, layers, width)."""
    recognised, ranking = recognition(
        instruction, known, penalties, permutations=permutations, resamples=resamples, seed=seed
    )
    fits = probes(last, known.decided[:, None], known, penalties)
    decided = select(fits, known.fold)
    refusal = axes(last, known.decided, known.parts)
    readable = ranking is None or ranking.p <= SIGNIFICANT
    read = readings(recognised.probability, certainty) if readable else (READINGS[1],) * len(known.ids)
    trained = np.unique(np.concatenate([part.train for part in known.parts]))
    groups = known.groups[trained]
    states = (instruction[trained, decided.usual], last[trained, decided.usual])
    labels = (known.harmful[trained], known.decided[trained])
    means = [x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0) for x, y in zip(states, labels, strict=True)]
    halves = [float(split_half_cosine(x, y, groups, seed)) for x, y in zip(states, labels, strict=True)]
    return Study(
        known=known,
        layers=tuple(layers),
        last=last,
        recognised=recognised,
        ranking=ranking,
        harmfulness=axes(instruction, known.harmful, known.parts),
        refusal=refusal,
        fits=tuple(fits),
        decided=decided,
        read=read,
        causes=causes(known, read),
        parting=parting(refusal.values, known),
        cosine=float(cosine(*means)),
        ceiling=float(np.sqrt(halves[0] * halves[1])) if min(halves) > 0 else None,
    )
