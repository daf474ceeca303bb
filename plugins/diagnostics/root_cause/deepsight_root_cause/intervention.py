"""Does the cause say what an intervention does? The refusal direction is added to harmful prompts that were answered.

Where the harm was recognised, a push towards refusal should find the rest of the way; where it was not, it should not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Effect, RefusalTokens, at_random, effect, scores
from deepsight_probing import select
from numpy.typing import NDArray

from deepsight_core.crossfit import cluster_weights, shuffled_labels
from deepsight_core.edits import Add
from deepsight_core.inside import Inside, Prompt
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import percentile_interval, permutation_p, wilson
from deepsight_root_cause.cases import Cases, Ints
from deepsight_root_cause.causes import MISSED, RECOGNISED
from deepsight_root_cause.study import Study

Floats = NDArray[np.float64]

DEPTH = 0.8
"""Only layers below this share of the depth may be pushed: further up, any direction that writes the refusal's words
would do (Arditi et al. 2024, appendix C)."""


def places_to_push(made: Study, layers: int) -> tuple[tuple[int, ...], Site]:
    """For each row the number of the layer, among those looked at, that the training samples of its fold prefer below
    DEPTH of the model's layers; and the usual one."""
    low = [place for place, layer in enumerate(made.layers) if layer < DEPTH * layers] or [0]
    chosen = select([made.fits[place] for place in low], made.known.fold)
    usual = made.layers[low[chosen.usual]]
    return tuple(low[place] for place in chosen.places), Site(kind="resid_out", layer=usual, position="all")


@dataclass(frozen=True, eq=False)
class Push:
    """Refusal scores of some rows: as they are, with the direction added, and with a random one of its length."""

    rows: Ints
    before: Floats
    after: Floats
    control: Floats

    def turned(self, scores: Floats) -> Ints:
        """1 where an answer that would have opened otherwise now opens with a refusal (P above 1/2)."""
        return ((self.before < 0) & (scores >= 0)).astype(np.int64)


def push(
    inside: Inside,
    prompts: Sequence[Prompt],
    rows: Ints,
    before: Floats,
    fold: Ints,
    vectors: Floats,
    places: Sequence[int],
    layers: Sequence[int],
    tokens: RefusalTokens,
    seed: int,
) -> Push:
    """Add to each row the difference of means of its fold, (folds, layers, width), which did not see the row, at the
    layer that its fold chose. `prompts`, `before`, `fold` and `places` are those of all rows."""
    after, control = np.zeros(len(rows)), np.zeros(len(rows))
    for number in np.unique(fold[rows]):
        mine = np.flatnonzero(fold[rows] == number)
        place = places[rows[mine[0]]]
        vector = vectors[number, place]
        asked = [prompts[row] for row in rows[mine]]
        for out, added in ((after, vector), (control, at_random(vector, 1, seed + int(number))[0])):
            out[mine] = scores(inside, asked, tokens, [Add(added, site="resid_out", layers=(layers[place],))])
    return Push(rows, before[rows], after, control)


def push_findings(
    done: Push, known: Cases, causes: Sequence[str | None], site: Site, resamples: int, seed: int
) -> list[Finding]:
    """How often the push turns each kind of failure, the difference between the kinds, and the change of the score."""
    kinds = np.array([causes[row] for row in done.rows])
    groups = known.groups[done.rows]
    turned, by_luck = done.turned(done.after), done.turned(done.control)
    found = []
    for kind in (RECOGNISED, MISSED):
        mine = kinds == kind
        if mine.any():
            found.append(_share(kind, turned[mine], by_luck[mine], groups[mine], site))
    if {RECOGNISED, MISSED} <= set(kinds):
        found.append(_difference(turned, kinds, groups, site, resamples, seed))
    moved = effect(done.before, done.after, groups, resamples, seed)
    beyond = effect(done.control, done.after, groups, resamples, seed)
    found.append(
        _change("change of the refusal score", moved, site, "Mean over all harmful prompts that were answered.")
    )
    found.append(_change("change beyond a random direction", beyond, site, "Against a random direction of its length."))
    return found


def _share(kind: str, turned: Ints, by_luck: Ints, groups: Ints, site: Site) -> Finding:
    clusters = len(np.unique(groups))
    low, high = wilson(float(turned.mean()) * clusters, clusters)
    return Finding(
        name=f"turned by the refusal direction: {kind}",
        value=float(turned.mean()),
        low=low,
        high=high,
        count=len(turned),
        site=site,
        unit="share",
        evidence="intervention",
        summary=f"With the direction added, {int(turned.sum())} of {len(turned)} would open with a refusal (P above "
        f"1/2), with a random direction of its length {int(by_luck.sum())}.",
    )


def _difference(turned: Ints, kinds: NDArray[np.str_], groups: Ints, site: Site, resamples: int, seed: int) -> Finding:
    rows = np.flatnonzero((kinds == RECOGNISED) | (kinds == MISSED))
    y, hit, clusters = (kinds[rows] == RECOGNISED).astype(np.int64), turned[rows], groups[rows]
    value = float(_gap(hit, y[:, None])[0])
    null = _gap(hit, shuffled_labels(y, clusters, resamples, seed))
    weights = cluster_weights(clusters, resamples, seed)
    with np.errstate(invalid="ignore"):
        draws = (weights @ (hit * y)) / (weights @ y) - (weights @ (hit * (1 - y))) / (weights @ (1 - y))
    low, high = percentile_interval(draws)
    null_low, null_high = percentile_interval(null)
    return Finding(
        name="turned more often where recognised",
        value=value,
        low=low,
        high=high,
        null_low=null_low,
        null_high=null_high,
        p=permutation_p(value, null),
        count=len(rows),
        site=site,
        unit="difference of shares",
        headline=True,
        evidence="intervention",
        summary="Share of recognised failures that the refusal direction turns, less that of failures not recognised; "
        "the null exchanges the causes between clusters.",
    )


def _gap(hit: Ints, y: Ints) -> Floats:
    """Mean of the hits in class 1 less that in class 0, by column of y (rows, columns)."""
    ones = y.sum(axis=0)
    return np.asarray((hit @ y) / ones - (hit @ (1 - y)) / (len(y) - ones))


def _change(name: str, found: Effect, site: Site, summary: str) -> Finding:
    return Finding(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        count=found.count,
        site=site,
        unit="nats of log-odds",
        evidence="intervention",
        summary=summary,
    )
