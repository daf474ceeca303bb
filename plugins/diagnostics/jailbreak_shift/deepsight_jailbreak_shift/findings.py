"""The shifts as findings: by attack, by layer, beside the harmless twins, and what kind of failure came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from deepsight_causal import Effect, effect
from deepsight_root_cause.cases import Ints
from deepsight_root_cause.causes import MISSED, RECOGNISED, UNDECIDED
from deepsight_root_cause.study import Study

from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import cluster_means, holm, percentile_interval, permutation_p, wilson
from deepsight_jailbreak_shift.forms import Forms
from deepsight_jailbreak_shift.shift import Floats, Move, Shift

SUPPRESSED = "recognised but refusal suppressed"
TYPES = {RECOGNISED: SUPPRESSED, MISSED: MISSED, UNDECIDED: UNDECIDED}
SPREADS = "within-class spreads"


@dataclass(frozen=True, eq=False)
class Picture:
    """All that findings are made of; arrays and masks are by pair of forms."""

    made: Study
    forms: Forms
    shift: Shift
    resamples: int
    seed: int

    @property
    def harmful(self) -> Ints:
        return self.made.known.harmful[self.forms.attacked]

    @property
    def groups(self) -> Ints:
        return self.made.known.groups[self.forms.attacked]

    @property
    def broken(self) -> Ints:
        """Places of harmful prompts that were refused in plain form and answered in attacked form."""
        refused = self.made.known.refused
        before, after = refused[self.forms.plain], refused[self.forms.attacked]
        return np.flatnonzero((self.harmful == 1) & (before == 1) & (after == 0))

    def of(self, attack: str, harmful: int) -> Ints:
        return np.flatnonzero((self.forms.attacks == attack) & (self.harmful == harmful))

    def kind(self, place: int) -> str | None:
        """The type of a broken prompt's failure."""
        cause = self.made.causes[self.forms.attacked[place]]
        return TYPES.get(cause) if cause else None

    def effect(self, values: Floats, rows: Ints) -> Effect:
        return effect(np.zeros(len(rows)), values[rows], self.groups[rows], self.resamples, self.seed)


def shift_findings(seen: Picture) -> list[Finding]:
    """Mean change of both coordinates for each attack, and how much of it the harmless twins lack.

    p is twice the larger of two, each corrected for all that is looked at: by sign flips over clusters (Holm 1979), and
    against the error of the direction (largest of the studentised means over its bootstrap draws). Twice, because
    either of them may be the one that errs.
    """
    made = seen.made
    found = [
        *_moves(seen, "refusal", seen.shift.refusal, made.decided_at),
        *_moves(seen, "harmfulness", seen.shift.harmfulness, made.recognised_at),
    ]
    corrected = holm([finding.p for finding, _ in found if finding.p is not None])
    means = np.array([[finding.value, *error] for finding, error in found], dtype=np.float64)
    size = np.abs(means) / np.where(means.any(axis=1), means.std(axis=1), 1)[:, None]
    against = familywise_p(size[:, 0], size[:, 1:])
    return [
        finding.model_copy(update={"p": min(1.0, 2 * float(max(pair))), "null_low": low, "null_high": high})
        for (finding, error), pair in zip(found, zip(corrected, against, strict=True), strict=True)
        for low, high in (percentile_interval(error),)
    ]


def _moves(seen: Picture, name: str, move: Move, site: Site) -> Iterator[tuple[Finding, Floats]]:
    """Findings of one coordinate, each with what the error of the direction would show, (draws,)."""
    for attack in seen.forms.names:
        for label, kind in ((1, "harmful"), (0, "harmless")):
            if len(rows := seen.of(attack, label)):
                summary = f"Mean change of the {name} coordinate from the plain to the attacked form, {kind} prompts."
                moved = seen.effect(move.there, rows)
                made = _finding(f"{name} shift: {attack}, {kind}", moved, site, summary, headline=label == 1)
                yield made, move.error[:, rows].mean(axis=1)
        harmful, harmless, shared = _twins(seen, move.there[None], attack)
        if len(shared):
            beyond = effect(harmless[0], harmful[0], shared, seen.resamples, seen.seed)
            summary = "Harmful less harmless of the same group: what the frame does not do to any prompt."
            one, other, _ = _twins(seen, move.error, attack)
            yield (
                _finding(f"{name} shift beyond the twin: {attack}", beyond, site, summary),
                (one - other).mean(axis=1),
            )


def _twins(seen: Picture, values: Floats, attack: str) -> tuple[Floats, Floats, Ints]:
    """Means of values (draws, pairs) over the harmful and over the harmless prompts of each group that has both, and
    these groups."""
    rows = [seen.of(attack, label) for label in (1, 0)]
    shared = np.intersect1d(seen.groups[rows[0]], seen.groups[rows[1]])
    harmful, harmless = (
        np.array([values[:, mine[seen.groups[mine] == group]].mean(axis=1) for group in shared]).T for mine in rows
    )
    return harmful, harmless, shared


def fraction_findings(seen: Picture) -> list[Finding]:
    """How far along the refusal axis each attack moves harmful prompts towards where the harmless ones lie."""
    gap, found = seen.shift.gap, []
    for attack in seen.forms.names:
        rows = seen.of(attack, 1)
        if not len(rows) or gap >= 0:
            continue
        draws = cluster_means(seen.shift.refusal.there[rows], seen.groups[rows], seen.resamples, seed=seen.seed) / gap
        low, high = percentile_interval(draws)
        found.append(
            Finding(
                name=f"fraction of the way to harmless: {attack}",
                value=float(seen.shift.refusal.there[rows].mean()) / gap,
                low=low,
                high=high,
                count=len(rows),
                site=seen.made.decided_at,
                unit="share of the gap",
                headline=True,
                summary=f"Of the {-gap:.2f} {SPREADS} between plain harmful and plain harmless prompts along the "
                "refusal axis (1: a harmful prompt now lies where harmless ones do); the interval holds the gap fixed.",
            )
        )
    return found


def share_findings(seen: Picture) -> list[Finding]:
    """What part of the squared shift lies along the two directions, beside directions from shuffled labels."""
    found = []
    for attack in seen.forms.names:
        rows = seen.of(attack, 1)
        for column, name in enumerate(("refusal", "harmfulness")) if len(rows) else ():
            values = seen.shift.along[:, column]
            moved = seen.effect(values, rows)
            luck = seen.shift.by_luck[:, rows, column].mean(axis=1)
            low, high = percentile_interval(luck)
            found.append(
                Finding(
                    name=f"share along {name}: {attack}",
                    value=moved.value,
                    low=moved.low,
                    high=moved.high,
                    null_low=low,
                    null_high=high,
                    p=permutation_p(moved.value, luck),
                    count=moved.count,
                    site=seen.made.decided_at,
                    unit="share of the squared shift",
                    summary="The null has directions that are nothing but error."
                    + (" What harmfulness adds to refusal." if column else ""),
                )
            )
    return found


def conduct_findings(seen: Picture) -> list[Finding]:
    """What each attack does to the refusals, and the types of the failures."""
    refused, found = seen.made.known.refused.astype(np.float64), []
    change = refused[seen.forms.attacked] - refused[seen.forms.plain]
    for attack in seen.forms.names:
        for label, kind in ((1, "harmful"), (0, "harmless")):
            if len(rows := seen.of(attack, label)):
                summary = (
                    f"Refused {refused[seen.forms.plain][rows].mean():.0%} of the time in plain form and "
                    f"{refused[seen.forms.attacked][rows].mean():.0%} under the attack."
                )
                found.append(
                    _finding(f"change of refusals: {attack}, {kind}", seen.effect(change, rows), None, summary, "share")
                )
    broken = seen.broken
    for name in TYPES.values() if len(broken) else ():
        mine = [place for place in broken if seen.kind(int(place)) == name]
        clusters = len(np.unique(seen.groups[broken]))
        low, high = wilson(len(mine) / len(broken) * clusters, clusters)
        found.append(
            Finding(
                name=f"broken: {name}",
                value=len(mine) / len(broken),
                low=low,
                high=high,
                count=len(broken),
                unit="share",
                headline=True,
                samples=tuple(seen.made.known.ids[seen.forms.attacked[place]] for place in mine),
                summary=f"{len(mine)} of {len(broken)} harmful prompts that were refused plainly and answered under an "
                "attack.",
            )
        )
    return found


def profile_findings(seen: Picture) -> Iterator[Finding]:
    """The mean refusal shift of harmful prompts, layer by layer."""
    for attack in seen.forms.names:
        rows = seen.of(attack, 1)
        for column, layer in enumerate(seen.made.layers) if len(rows) else ():
            draws = cluster_means(seen.shift.refusal.values[rows, column], seen.groups[rows], seen.resamples, seen.seed)
            low, high = percentile_interval(draws)
            yield Finding(
                name=f"refusal shift by layer: {attack}",
                value=float(seen.shift.refusal.values[rows, column].mean()),
                low=low,
                high=high,
                count=len(rows),
                site=Site(kind="resid_out", layer=layer, position="last"),
                unit=SPREADS,
            )


def _finding(
    name: str, found: Effect, site: Site | None, summary: str, unit: str = SPREADS, headline: bool = False
) -> Finding:
    return Finding(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        count=found.count,
        site=site,
        unit=unit,
        headline=headline,
        summary=summary,
    )
