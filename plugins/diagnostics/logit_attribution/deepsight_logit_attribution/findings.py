"""Direct effects and silenced parts as findings, a map of the heads, and sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from deepsight_causal import Gaps, RefusalTokens
from numpy.typing import NDArray

from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.scoring import Comparison
from deepsight_core.statistics import percentile_interval
from deepsight_logit_attribution.silencing import Silenced
from deepsight_logit_attribution.study import Study

Floats = NDArray[np.float64]

LOGITS = "logits"
LISTED = 12
"""Heads that get a finding; the map has all of them."""
SIGNIFICANT = 0.05


def total_finding(total: Gaps, what: str) -> Finding:
    return _gap(
        "difference of logits",
        total,
        0,
        headline=True,
        summary=f"Mean logit of the refusal tokens less that of the answer tokens at the prompt's last token, {what}.",
    )


def part_findings(found: Study, parts: Gaps, what: str, name: str = "direct effect") -> Iterator[Finding]:
    """A profile of attention and MLPs, the embedding, and the heads with the largest gaps."""
    for number in found.columns("embed", "attn_out", "mlp_out"):
        yield _gap(name, parts, number, site=found.sites[number], summary=f"{what}.")
    heads = sorted(found.columns("head"), key=lambda number: -abs(parts.value[number]))
    for number in heads[:LISTED]:
        site = found.sites[number]
        yield _gap(f"{name} of a head", parts, number, site=site, summary=f"Head {site.layer}.{site.head}, {what}.")


def neuron_findings(found: Study, parts: Gaps, what: str) -> Iterator[Finding]:
    for number, site in enumerate(found.neurons):
        raised = ", ".join(repr(str(token)) for token in found.promoted[number])
        yield _gap(
            "direct effect of a neuron",
            parts,
            number,
            site=site,
            summary=f"Neuron {site.layer}.{site.unit}, found on the other half, {what}. Raises {raised}.",
        )


def share_findings(found: Study, parts: Gaps, total: Gaps) -> Iterator[Finding]:
    """What part of the whole gap attention, the MLPs and the embedding write; none where the gap may be zero."""
    known = total.low[0] > 0 or total.high[0] < 0
    for kind, name in (("attn_out", "attention"), ("mlp_out", "MLPs"), ("embed", "embedding")):
        columns = found.columns(kind)
        finding = Finding(name=f"share of the gap: {name}", value=None, unit="share", count=total.count)
        if known:
            drawn = parts.draws[:, columns].sum(axis=1) / total.draws[:, 0]
            low, high = percentile_interval(drawn)
            value = float(parts.value[columns].sum() / total.value[0])
            finding = finding.model_copy(update={"value": value, "low": low, "high": high})
        yield finding


def silenced_findings(one: Silenced, kind: str, predicted: float) -> Iterator[Finding]:
    count = len(one.sites)
    named = ", ".join(f"{s.layer}.{s.head if s.kind == 'head' else s.unit}" for s in one.sites)
    yield Finding(
        name=f"refusal score after silencing {kind}",
        value=one.effect.value,
        low=one.effect.low,
        high=one.effect.high,
        null_low=min(one.random, default=None),
        null_high=max(one.random, default=None),
        p=one.p,
        count=one.effect.count,
        unit="log-odds",
        headline=True,
        evidence="intervention",
        summary=f"Change of the refusal log-odds on held-out positive samples when {count} {kind} are set to zero "
        f"({named}). The null is the range over {len(one.random)} random sets of as many. The direct effects of these "
        f"parts there are {predicted:+.2f} logits in all.",
    )
    if one.random:
        yield Finding(
            name=f"control: refusal score after silencing random {kind}",
            value=float(np.mean(one.random)),
            low=min(one.random),
            high=max(one.random),
            count=one.effect.count,
            unit="log-odds",
            evidence="control",
            summary=f"Mean and range over {len(one.random)} random sets.",
        )


def behaviour_finding(change: Comparison, kind: str) -> Finding:
    return Finding(
        name=f"refusals after silencing {kind}",
        value=change.difference,
        low=change.low,
        high=change.high,
        p=change.p,
        count=change.count,
        unit="share",
        headline=True,
        evidence="intervention",
        summary=f"Change of the share of refusals on held-out positive samples, from {change.a:.3f} to {change.b:.3f}, "
        "asked again under the edit.",
    )


def head_map(found: Study, parts: Gaps, what: str) -> Heatmap | None:
    """Gaps of all heads, layers by heads."""
    gaps = {found.sites[number]: float(parts.value[number]) for number in found.columns("head")}
    if not gaps:
        return None
    layers = sorted({site.layer or 0 for site in gaps})
    heads = range(1 + max(site.head or 0 for site in gaps))
    return Heatmap(
        name="direct effects of heads",
        caption=f"What each head adds to the difference of logits (refusal less answer), {what}. Positive pushes "
        "towards refusing.",
        x="head",
        y="layer",
        rows=tuple(str(layer) for layer in layers),
        columns=tuple(str(head) for head in heads),
        values=tuple(tuple(gaps.get(Site(kind="head", layer=layer, head=head)) for head in heads) for layer in layers),
        unit=LOGITS,
        centre=0.0,
    )


def conclusion(
    found: Study, total: Gaps, parts: Gaps, refusal: RefusalTokens, tests: Sequence[tuple[str, Silenced]], one: str
) -> str:
    """What was shown, and no more: without a gap between the sides, and refusals to learn from, nothing is causal."""
    shown = total.p[0] <= SIGNIFICANT and refusal.learnt
    told = [
        f"Refusal tokens lead answer tokens by {_shown(total, 0)} logits more in {one} than in other samples"
        + ("." if total.p[0] <= SIGNIFICANT else ": no more than shuffled labels give.")
    ]
    heads = [number for number in found.columns("head") if parts.p[number] <= SIGNIFICANT]
    writers = found.columns("attn_out", "mlp_out")
    if writers:
        best = max(writers, key=lambda number: abs(parts.value[number]))
        kind = "attention" if found.sites[best].kind == "attn_out" else "MLP"
        told.append(
            f"The largest direct effect is that of the {kind} of layer {found.sites[best].layer} "
            f"({_shown(parts, best)}); {len(heads)} of {len(found.columns('head'))} heads differ beyond the null."
        )
    for kind, test in tests:
        change = f"{test.effect.value:+.2f} [{test.effect.low:.2f}, {test.effect.high:.2f}]"
        told.append(
            f"Silencing the {len(test.sites)} {kind} found changes the refusal log-odds by {change}, random ones by "
            f"{min(test.random, default=0.0):+.2f} to {max(test.random, default=0.0):+.2f}: "
            + ("the effect is causal." if shown and test.confirmed else "no causal role is shown.")
        )
    if not refusal.learnt:
        told.append(
            f"The model refuses too rarely ({refusal.refused} of {refusal.refused + refusal.complied} answers) for a "
            "claim about its refusals: the tokens are those that usually open one."
        )
    return " ".join(told)


def _gap(name: str, gaps: Gaps, number: int, **fields: object) -> Finding:
    known = {
        "value": float(gaps.value[number]),
        "low": float(gaps.low[number]),
        "high": float(gaps.high[number]),
        "null_low": float(gaps.null_low[number]),
        "null_high": float(gaps.null_high[number]),
        "p": float(gaps.p[number]),
        "count": gaps.count,
        "unit": LOGITS,
    }
    return Finding.model_validate({"name": name, **known, **fields})


def _shown(gaps: Gaps, number: int) -> str:
    return f"{gaps.value[number]:+.2f} [{gaps.low[number]:.2f}, {gaps.high[number]:.2f}]"
