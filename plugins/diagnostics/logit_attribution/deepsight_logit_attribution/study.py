"""The direct effects of all samples, with heads and neurons found on one half of them and reported on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Cases, RefusalTokens
from numpy.typing import NDArray

from deepsight_core.crossfit import folds
from deepsight_core.inside import DirectEffects, Inside, Token
from deepsight_core.protocol import Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HALVES = 2


@dataclass(frozen=True)
class Study:
    """Rows are those of the cases; those of `choose` and of `report` share no cluster."""

    cases: Cases
    choose: Ints
    report: Ints
    sites: tuple[Site, ...]
    """Embedding, attention and MLPs, then heads."""
    effects: Floats
    """(rows, sites), in logits."""
    total: Floats
    """(rows,): the difference of logits as the model gives it."""
    neurons: tuple[Site, ...]
    """Found on the rows of `choose`, the largest gap first."""
    raising: tuple[Site, ...]
    """Those among them that raise the difference on the positive side, by the rows of `choose` alone."""
    of_neurons: Floats
    """(rows of `report`, neurons)"""
    promoted: tuple[tuple[Token, ...], ...]
    """Of each neuron, the tokens that it raises."""
    error: float
    absent: dict[str, str]
    capped: bool

    def columns(self, *kinds: str) -> list[int]:
        return [number for number, site in enumerate(self.sites) if site.kind in kinds]

    def raising_heads(self, count: int) -> tuple[Site, ...]:
        """The heads that raise the difference most on the positive side, by the rows of `choose` alone."""
        positive = self.cases.y[self.choose] == 1
        rows = self.effects[self.choose]
        gap = rows[positive].mean(axis=0) - rows[~positive].mean(axis=0)
        heads = sorted(self.columns("head"), key=lambda column: -gap[column])
        return tuple(self.sites[column] for column in heads[:count] if gap[column] > 0)


def study(
    cases: Cases, inside: Inside, refusal: RefusalTokens, answer: Sequence[Token], neurons: int, seed: int
) -> Study:
    """One pass over either half. Raises DiagnosticError where a side of the contrast has fewer than two clusters."""
    half = folds(cases.y, cases.groups, HALVES, seed)
    choose, report = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
    positive, negative = refusal.ids, tuple(token.id for token in answer)
    side = cases.y[choose] == 1
    weights = np.where(side, 1 / side.sum(), -1 / (~side).sum()).tolist()
    first = inside.direct(cases.asked(choose), positive, negative, top=neurons, weights=weights)
    found = tuple(site for site, _ in first.top)
    second = inside.direct(cases.asked(report), positive, negative, neurons=found)
    back = np.argsort(np.concatenate([choose, report]))
    words = dict(zip((site for site in second.sites if site.kind == "neuron"), second.promoted, strict=True))
    return Study(
        cases=cases,
        choose=choose,
        report=report,
        sites=first.sites,
        effects=np.concatenate([first.values, second.values[:, : len(first.sites)]])[back],
        total=np.concatenate([first.total, second.total])[back],
        neurons=found,
        raising=tuple(site for site, gap in first.top if gap > 0),
        of_neurons=_columns(second, found),
        promoted=tuple(words[site] for site in found),
        error=max(first.error, second.error),
        absent=dict(first.absent),
        capped=first.capped,
    )


def _columns(effects: DirectEffects, sites: Sequence[Site]) -> Floats:
    return np.column_stack([np.empty((len(effects.ids), 0)), *(effects.column(site) for site in sites)])
