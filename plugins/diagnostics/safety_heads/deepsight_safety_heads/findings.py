"""The study as findings, a map, and sentences that claim what was shown and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import RefusalTokens
from deepsight_causal.shares import hardly
from numpy.typing import NDArray

from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.scoring import Comparison
from deepsight_core.statistics import correlation, percentile_interval, permutation_p
from deepsight_safety_heads.behaviour import Conduct
from deepsight_safety_heads.silencing import Head
from deepsight_safety_heads.study import Part, Screened, Tested, Together, gaps
from deepsight_safety_heads.subspace import turned

Floats = NDArray[np.float64]

SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""
UNIT = "log-odds"


def single(found: Tested, part: Part, shown: int, rank: int, states: Floats) -> list[Finding]:
    """Heads by themselves: those most specific first, with what else silencing them does."""
    (low, high), (null_low, null_high) = found.seen.interval, found.seen.band
    harmful = part.y == 1
    order = np.argsort(-np.abs(found.seen.value[: found.top]), kind="stable")[:shown]
    told = []
    for number in order:
        head, reading = found.heads[number], found.readings[number]
        change = found.change[:, number]
        right, left = turned(states[harmful], reading.states[harmful], rank)
        told.append(
            Finding(
                name="specific effect of a head",
                value=float(found.seen.value[number]),
                low=float(low[number]),
                high=float(high[number]),
                null_low=float(null_low[number]),
                null_high=float(null_high[number]),
                p=float(found.seen.p[number]),
                count=len(part.y),
                site=Site(kind="head", layer=head.layer, head=head.head),
                unit=UNIT,
                evidence="intervention",
                summary=f"Silenced, the refusal score changes by {change[harmful].mean():+.2f} on harmful and "
                f"{change[~harmful].mean():+.2f} on harmless prompts; KL of the next token "
                f"{reading.divergence[harmful].mean():.3f} (harmful, Ships) and "
                f"{reading.divergence[~harmful].mean():.3f} (harmless, the cost) nats; the states of "
                f"harmful prompts turn by {right:.1f} degrees (right vectors) or {left:.1f} (left, as published).",
            )
        )
    return told


def criteria(found: Tested, part: Part, rank: int, states: Floats) -> list[Finding]:
    """How other criteria rank the heads that were silenced, against what these do to the refusal of harmful prompts."""
    harmful = part.y == 1
    change = found.change[harmful].mean(axis=0)
    angles = np.array([turned(states[harmful], reading.states[harmful], rank) for reading in found.readings])
    scored = {
        "Ships (KL on harmful prompts)": np.array([reading.divergence[harmful].mean() for reading in found.readings]),
        "angle of the right vectors": angles[:, 0],
        "angle of the left vectors (Sahara)": angles[:, 1],
    }
    return [
        Finding(
            name=f"agreement of {name}",
            value=rank_correlation(scores, -change),
            count=len(change),
            unit="Spearman's rho",
            evidence="intervention",
            summary=f"With the fall of the refusal score, over {len(change)} heads. First by this criterion: "
            f"{found.heads[int(scores.argmax())]}, which changes the score of harmful prompts by "
            f"{change[scores.argmax()]:+.2f}.",
        )
        for name, scores in scored.items()
    ]


def calibration(found: Tested) -> list[Finding]:
    """How good the estimates are, on the prompts that are reported on."""
    estimated, exact = found.estimates.mean(axis=0), found.change.mean(axis=0)
    return [
        Finding(
            name=name,
            value=correlation(estimated[part], exact[part]),
            count=len(exact[part]),
            unit="Pearson's r",
            evidence="intervention",
            summary=f"Between estimated and exact changes of the score of {what}.",
        )
        for name, part, what in (
            ("estimates against silencing", slice(None), "all heads that were silenced"),
            ("estimates against silencing, at random", slice(found.top, None), "those drawn at random"),
        )
    ]


def sets(found: Together, part: Part) -> list[Finding]:
    """The nested sets, and random ones as large as the largest."""
    value, random = gaps(found.change, part.y), gaps(found.random, part.y)
    harmful = part.y == 1
    null_low, null_high = percentile_interval(random)
    told = []
    for size in range(1, len(found.heads) + 1):
        change, largest = found.change[:, size - 1], size == len(found.heads)
        weights = part.weights
        ones, zeros = weights * part.y, weights * (1 - part.y)
        drawn = ones @ change / np.maximum(ones.sum(axis=1), 1) - zeros @ change / np.maximum(zeros.sum(axis=1), 1)
        low, high = percentile_interval(drawn)
        told.append(
            Finding(
                name=f"specific effect of {size} head{'s' if size > 1 else ''} together",
                value=float(value[size - 1]),
                low=low,
                high=high,
                null_low=null_low if largest else None,
                null_high=null_high if largest else None,
                p=permutation_p(-float(value[-1]), -random) if largest else None,
                count=len(part.y),
                unit=UNIT,
                headline=largest,
                evidence="intervention",
                summary=f"{', '.join(map(str, found.heads[:size]))}: harmful {change[harmful].mean():+.2f}, harmless "
                f"{change[~harmful].mean():+.2f}; KL on harmless prompts "
                f"{found.divergence[~harmful, size - 1].mean():.3f} nats."
                + (f" Null: {random.size} random sets of {size}." if largest else ""),
            )
        )
    return told


def conduct(found: Conduct, heads: int) -> list[Finding]:
    """Refusals of harmful prompts that were asked again."""

    def finding(name: str, seen: Comparison, control: bool) -> Finding:
        return Finding(
            name=name,
            value=seen.difference,
            low=seen.low,
            high=seen.high,
            p=seen.p,
            count=seen.count,
            unit="share",
            headline=not control,
            evidence="control" if control else "intervention",
            summary=f"Harmful prompts refused: {seen.a or 0:.0%} before, {seen.b or 0:.0%} without "
            + (f"a random set of {heads}." if control else f"the set of {heads}.")
            + (f" {seen.left_out} unscored answers are left out." if seen.left_out else ""),
        )

    return [
        finding("refusals without the heads", found.heads, False),
        finding("control: refusals without random heads", found.random, True),
    ]


def map_of_heads(found: Screened, prompts: int) -> Heatmap:
    layers = sorted({head.layer for head in found.heads})
    count = max(head.head for head in found.heads) + 1
    value = dict(zip(found.heads, found.seen.value, strict=True))
    return Heatmap(
        name="estimated specific effect",
        caption="What silencing each head is estimated to change the refusal score of harmful prompts by, less the "
        f"same for harmless ones; {prompts} prompts to choose on, estimates to first order. Negative: a head that "
        "refuses harmful requests.",
        x="head",
        y="layer",
        rows=tuple(map(str, layers)),
        columns=tuple(map(str, range(count))),
        values=tuple(tuple(float(value[Head(layer, head)]) for head in range(count)) for layer in layers),
        unit=UNIT,
        centre=0,
    )


def caveats(found: Tested, screened: Screened, tokens: RefusalTokens, prompts: int) -> list[str]:
    told = [
        "The score is the log-odds that the answer opens with " + ", ".join(map(repr, tokens.texts)) + ".",
        f"Heads were chosen by estimates on {prompts} other prompts, out of {len(screened.heads)}; p values are "
        f"corrected for the {len(found.heads)} that were silenced (largest statistic under shuffled labels).",
        "A head that is silenced alone may be stood in for by others: no effect does not mean no part.",
    ]
    if not tokens.learnt:
        told.append(f"The model refused {tokens.refused} times, too few to learn how: the score is of usual openings.")
    return told


def summary(
    share: float | None,
    found: Tested,
    part: Part,
    group: Together | None,
    named: Sequence[Finding],
    told: Sequence[Finding],
) -> str:
    """`share` of harmful prompts is refused; `named` are single heads, `told` sets and answers."""
    harmful = part.y == 1
    gap = found.before[harmful].mean() - found.before[~harmful].mean()
    sentences = []
    if hardly(share):
        sentences.append(
            f"This model refused {share or 0:.0%} of the harmful prompts: there is no refusal for a head to cause, and "
            "what follows is about how far it leans to the words with which refusals open."
        )
    strong = [one for one in named if one.p is not None and one.p <= SIGNIFICANT and (one.value or 0) < 0]
    if strong:
        best = strong[0]
        assert best.site is not None
        sentences.append(
            f"{len(strong)} of {len(named)} heads lower the refusal of harmful prompts specifically when silenced; "
            f"most of all head {best.site.head} of block {best.site.layer}, by {best.value:+.2f} of a gap of {gap:.2f} "
            "log-odds."
        )
    else:
        sentences.append(
            "No single head that was silenced lowers the refusal of harmful prompts more than that of harmless ones."
        )
    if group is not None:
        whole = next(one for one in told if one.name.endswith("together") and one.headline)
        beyond = whole.p is not None and whole.p <= SIGNIFICANT
        sentences.append(
            f"The set of {len(group.heads)}: {whole.value:+.2f}, "
            + ("more than" if beyond else "no more than")
            + f" random sets do (p = {whole.p:.2g})."
        )
    sentences += [one.summary for one in told if one.name == "refusals without the heads"]
    return " ".join(sentences)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's, of values without ties."""
    return correlation(*(np.argsort(np.argsort(values)).astype(np.float64) for values in (one, other)))
