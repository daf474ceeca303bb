"""What the lens shows as findings, maps, and sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from deepsight_causal import Cases, Gaps, RefusalTokens

from deepsight_core.agreement import DECISION_LAYER
from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import cluster_means, percentile_interval, wilson
from deepsight_logit_lens.reading import Candidates, Floats, Ints, Seen, course, first_from

UNIT = "log-odds"
SIGNIFICANT = 0.05
POSITION = "last"


def site(layer: int) -> Site:
    return Site(kind="resid_out", layer=layer, position=POSITION)


def gap_findings(name: str, odds: Seen, found: Gaps, what: str, headline: bool = False) -> Iterator[Finding]:
    """A profile; the last layer, which is the model's own score, is the headline."""
    for column, layer in enumerate(odds.layers):
        last = layer == odds.layers[-1]
        yield Finding(
            name=name,
            value=float(found.value[column]),
            low=float(found.low[column]),
            high=float(found.high[column]),
            null_low=float(found.null_low[column]),
            null_high=float(found.null_high[column]),
            p=float(found.p[column]),
            count=found.count,
            site=site(layer),
            unit=UNIT,
            headline=headline and last,
            summary=f"Mean refusal log-odds of {what}" + (" (the last layer: what the model does)." if last else "."),
        )


def level_findings(name: str, odds: Seen, rows: Ints, groups: Ints, resamples: int, seed: int) -> Iterator[Finding]:
    """A profile of the mean log-odds of one cohort."""
    for column, layer in enumerate(odds.layers):
        values = odds.odds[rows, column]
        low, high = percentile_interval(cluster_means(values, groups[rows], resamples, seed))
        yield Finding(
            name=f"refusal log-odds of {name}",
            value=float(values.mean()),
            low=low,
            high=high,
            count=len(rows),
            site=site(layer),
            unit=UNIT,
        )


def decision(odds: Seen, found: Gaps) -> Finding:
    """The first layer from which the gap's interval stays above 0; its own interval comes from the bootstrap draws."""
    first = first_from(found.low > 0)
    if first is None or found.p[-1] > SIGNIFICANT:
        return Finding(
            name=DECISION_LAYER,
            value=None,
            unit="layer",
            count=found.count,
            summary="At the last layer the cohorts do not differ beyond what shuffled labels give, so there is no "
            "layer from which they do.",
        )
    whole = found.draws[np.isfinite(found.draws).all(axis=1)]
    firsts = [odds.layers[place] for draw in whole if (place := first_from(draw > found.null_high)) is not None]
    low, high = percentile_interval([*firsts, odds.layers[first]])
    return Finding(
        name=DECISION_LAYER,
        value=float(odds.layers[first]),
        low=min(low, float(odds.layers[first])),
        high=max(high, float(odds.layers[first])),
        count=found.count,
        site=site(odds.layers[first]),
        unit="layer",
        headline=True,
        summary="The first layer from which the interval of the gap stays above 0. The interval: where it "
        "comes to stay above the null band in bootstrap draws, widened to hold the value.",
    )


def candidate_findings(odds: Seen, seen: Candidates, rows: Ints, name: str, k: int) -> Iterator[Finding]:
    """Rank and entropy by layer, of some samples of one cohort."""
    for column, layer in enumerate(odds.layers):
        ranks, bounds = seen.rank[rows, column], seen.entropy[rows, column]
        low, high = np.quantile(ranks, [0.25, 0.75])
        yield Finding(
            name=f"rank of the best refusal token, {name}",
            value=float(np.median(ranks)),
            low=float(low),
            high=float(high),
            count=len(rows),
            site=site(layer),
            unit="rank",
            summary=f"Median and middle half of the samples; {k + 1} stands for every rank beyond {k}.",
        )
        yield Finding(
            name=f"entropy, at least, {name}",
            value=float(bounds.mean()),
            count=len(rows),
            site=site(layer),
            unit="nats",
            summary=f"What the {k} likeliest tokens leave no doubt of; the entropy itself is larger.",
        )


def passing_findings(odds: Seen, these: Cases, threshold: float, one: str) -> Iterator[Finding]:
    """How often a refusal came up in some layer and was gone at the end, among positive samples."""
    for name, refused in (("answered", False), ("refused", True)):
        rows = [row for row, verdict in enumerate(these.refused) if verdict is refused and these.y[row] == 1]
        if not rows:
            continue
        went = [row for row in rows if course(odds.mass[row], threshold)[1] is not None]
        clusters = len(set(these.groups[rows]))
        low, high = wilson(len(went) / len(rows) * clusters, clusters)
        yield Finding(
            name=f"refusal came and went, {one} and {name}",
            value=len(went) / len(rows),
            low=low,
            high=high,
            count=len(rows),
            unit="share",
            samples=tuple(these.ids[row] for row in went),
            summary=f"Share of samples in which the refusal tokens reach a probability of {threshold:g} at some layer "
            "and fall below it for good. The interval counts clusters.",
        )


def table(odds: Seen, these: Cases, threshold: float) -> Mapping[str, Mapping[str, float | str | None]]:
    rows: dict[str, dict[str, float | str | None]] = {}
    for row, id in enumerate(these.ids):
        came, went = course(odds.mass[row], threshold)
        rows[id] = {
            "refusal log-odds": float(odds.odds[row, -1]),
            "refusal appears at layer": None if came is None else float(odds.layers[came]),
            "refusal gone from layer": None if went is None else float(odds.layers[went]),
        }
    return rows


def cohort_map(odds: Seen, cohorts: Mapping[str, Ints]) -> Heatmap:
    named = {f"{name} ({len(rows)})": odds.odds[rows].mean(axis=0) for name, rows in cohorts.items() if len(rows)}
    return Heatmap(
        name="refusal log-odds by layer and cohort",
        caption="Mean log-odds, under the lens, that the answer opens with a refusal token. Early layers are not in "
        "the basis that the lens reads.",
        x="cohort",
        y="layer",
        rows=tuple(str(layer) for layer in odds.layers),
        columns=tuple(named),
        values=tuple(tuple(float(column[number]) for column in named.values()) for number in range(len(odds.layers))),
        unit=UNIT,
        centre=0.0,
    )


def step_map(layers: Sequence[int], gap: Floats, counts: Sequence[int]) -> Heatmap:
    """`gap` is (steps, layers): refused less other answers."""
    return Heatmap(
        name="refused less other answers, by layer and step",
        caption="Mean refusal log-odds of refused less other answers where each of the first tokens of the answer was "
        f"decided (answers that are long enough: {', '.join(map(str, counts))}).",
        x="token of the answer",
        y="layer",
        rows=tuple(str(layer) for layer in layers),
        columns=tuple(str(step) for step in range(len(gap))),
        values=tuple(
            tuple(None if np.isnan(gap[step, number]) else float(gap[step, number]) for step in range(len(gap)))
            for number in range(len(layers))
        ),
        unit=UNIT,
        centre=0.0,
    )


def conclusion(
    odds: Seen, found: Gaps, decided: Finding, refusal: RefusalTokens, what: str, passing: Sequence[Finding]
) -> str:
    shown = f"{found.value[-1]:+.2f} [{found.low[-1]:.2f}, {found.high[-1]:.2f}]"
    told = [f"At the last layer the refusal log-odds of {what} differ by {shown}"]
    told[0] += "." if found.p[-1] <= SIGNIFICANT else ", no more than shuffled labels give."
    if decided.value is not None:
        told.append(
            f"Under the lens the gap is there to stay from layer {decided.value:.0f} of {odds.layers[-1]} on "
            f"[{decided.low:.0f}, {decided.high:.0f}]."
        )
    for finding in passing:
        if finding.value and "answered" in finding.name:
            told.append(
                f"In {len(finding.samples)} of {finding.count} positive samples that were answered, a refusal came up "
                "in some layer and was gone at the end."
            )
    if not refusal.learnt:
        told.append(
            f"The model refuses too rarely ({refusal.refused} of {refusal.refused + refusal.complied} answers) for a "
            "claim about its refusals: the tokens are those that usually open one."
        )
    return " ".join(told)
