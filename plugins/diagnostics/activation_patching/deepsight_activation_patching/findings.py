"""The study as findings, maps, and sentences that claim what was shown and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import RefusalTokens
from deepsight_causal.shares import hardly
from numpy.typing import NDArray

from deepsight_activation_patching.attribution import Estimates
from deepsight_activation_patching.effects import Draws, Effects, rises
from deepsight_activation_patching.patching import Place
from deepsight_activation_patching.study import Confirmed, Scored, Sweep
from deepsight_core.figures import Heatmap
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import correlation

Floats = NDArray[np.float64]

SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""
UNIT = "share of the gap"


def profiles(seen: Sweep, layers: Sequence[int], pairs: int) -> list[Finding]:
    """The effect after every block, in both directions."""
    places = [Place("resid_out", layer) for layer in layers]
    return [
        *_effects("patching effect", seen.denoise, places, pairs),
        *_effects("patching effect, harmless into harmful", seen.noise, places, pairs),
    ]


def jump(seen: Sweep, layers: Sequence[int], drawn: Draws, gap: Floats) -> Finding:
    """The block at which the effect rises most; None where nothing rises beyond chance."""
    effect = seen.denoise
    place = int(rises(effect.value))
    found = np.asarray(layers)[rises(effect.drawn)]
    low, high = (float(end) for end in np.quantile(found, [0.025, 0.975], method="closest_observation"))
    before = float(effect.value[place - 1]) if place else 0.0
    told = (
        f"Patched after block {layers[place]}, the last token of a harmful prompt carries "
        f"{effect.value[place]:.0%} of the gap in the refusal score over to its harmless twin; "
        f"after the block before, {before:.0%}."
    )
    shown = effect.p[place] <= SIGNIFICANT
    return Finding(
        name="patching jump",
        value=layers[place] if shown else None,
        low=low if shown else None,
        high=high if shown else None,
        p=float(effect.p[place]),
        count=len(gap),
        site=Site(kind="resid_out", layer=layers[place], position="last") if shown else None,
        unit="layer",
        headline=True,
        evidence="intervention",
        summary=told if shown else "At no block does the effect rise beyond what unrelated prompts do.",
    )


def halfway(seen: Sweep, layers: Sequence[int], pairs: int) -> Finding:
    """The first block after which a patch closes half of the gap."""
    reached = np.flatnonzero(seen.denoise.value >= 0.5)
    over = seen.denoise.drawn >= 0.5
    some = over.any(axis=1)
    firsts = np.asarray(layers)[over.argmax(axis=1)[some]]
    known = len(reached) > 0 and some.mean() > 0.95
    low, high = np.quantile(firsts, [0.025, 0.975], method="closest_observation") if known else (None, None)
    return Finding(
        name="half of the gap is closed",
        value=layers[reached[0]] if len(reached) else None,
        low=low,
        high=high,
        count=pairs,
        unit="layer",
        evidence="intervention",
        summary="The first block after which the last token alone carries half of the gap between twins over.",
    )


def components(found: Confirmed) -> list[Finding]:
    """Heads and MLPs that were patched, those chosen by their estimates first, and how good the estimates were."""
    told = [f"Estimated by attribution: {estimate:.1%}." for estimate in found.estimated]
    chosen = _effects("component effect", found.exact, found.places, found.pairs, told)
    exact, estimated = found.exact.value, found.estimated
    calibration = [
        Finding(
            name=name,
            value=correlation(estimated[part], exact[part]),
            count=len(exact[part]),
            unit="Pearson's r",
            evidence="intervention",
            summary=f"Between estimated and exact effects of {what}, on the same {found.pairs} pairs.",
        )
        for name, part, what in (
            ("attribution against patching", slice(None), "all heads and MLPs that were patched"),
            ("attribution against patching, at random", slice(found.top, None), "those drawn at random"),
        )
    ]
    return [*(one for one in chosen[: found.top]), *calibration]


def control(largest: float, pairs: int) -> Finding:
    return Finding(
        name="control: own activation",
        value=largest,
        count=pairs,
        unit="log-odds",
        evidence="control",
        summary="The largest change of a score when a prompt is patched with its own activation: rounding.",
    )


def maps(seen: Estimates, gap: Floats, layers: Sequence[int]) -> tuple[Heatmap, ...]:
    """Attribution by layer and position, and by layer and head."""
    stream = seen.stream.sum(axis=0) / gap.sum()
    columns = [str(place - stream.shape[1]) for place in range(stream.shape[1])]
    rows = tuple(str(layer) for layer in layers)
    told = ""
    if seen.earlier is not None:
        known = ~np.isnan(seen.earlier[:, 0])
        stream = np.column_stack([seen.earlier[known].sum(axis=0) / gap[known].sum(), stream])
        columns.insert(0, "earlier")
        told = f" All earlier tokens together: {int(known.sum())} pairs whose twins have equally many tokens."
    heads = [place for place in seen.components if place.head is not None]
    share = dict(zip(seen.components, seen.effects.sum(axis=0) / gap.sum(), strict=True))
    by_layer = sorted({place.layer for place in heads})
    count = max((place.head or 0 for place in heads), default=-1) + 1
    found = [
        Heatmap(
            name="attribution by position",
            caption="Estimated effect of patching the residual stream after each block, harmful into harmless, as a "
            f"share of the gap; columns are tokens counted from the end of the prompt.{told} An estimate to first "
            "order: see the profile for exact effects at the last token.",
            x="token",
            y="layer",
            rows=rows,
            columns=tuple(columns),
            values=tuple(tuple(float(value) for value in row) for row in stream),
            unit=UNIT,
            centre=0,
        )
    ]
    if heads:
        found.append(
            Heatmap(
                name="attribution by head",
                caption="Estimated effect of patching one head at the last token, harmful into harmless, as a share of "
                "the gap, over all pairs.",
                x="head",
                y="layer",
                rows=tuple(str(layer) for layer in by_layer),
                columns=tuple(str(head) for head in range(count)),
                values=tuple(
                    tuple(float(share[Place("head", layer, head)]) for head in range(count)) for layer in by_layer
                ),
                unit=UNIT,
                centre=0,
            )
        )
    return tuple(found)


def caveats(kept: Scored, tokens: RefusalTokens, places: int) -> list[str]:
    told = [
        "The score is the log-odds that the answer opens with "
        f"{', '.join(map(repr, tokens.texts))}; whether the whole answer refuses was not judged here.",
        f"p values are corrected for the {places} layers looked at, and for the heads and MLPs that were patched "
        "(largest statistic under sign flips of pairs).",
        "Heads and MLPs were chosen on one half of the pairs and are reported on the other.",
    ]
    if kept.left_out:
        told.append(f"{kept.left_out} pairs were left out: the harmful prompt's score is hardly above its twin's.")
    if not tokens.learnt:
        told.append(f"The model refused {tokens.refused} times, too few to learn how: the score is of usual openings.")
    return told


def summary(share: float | None, kept: Scored, jumped: Finding, named: Sequence[Finding]) -> str:
    """`share` of harmful prompts is refused."""
    if hardly(share):
        return (
            f"This model refused {share or 0:.0%} of the harmful prompts: there is no refusal to locate. What can be "
            "located is what makes it lean to the words with which refusals open: " + jumped.summary
        )
    if jumped.value is None:
        return f"Over {len(kept.pairs)} pairs of twins, no block was found at which refusal is decided."
    told = (
        f"Refusal is decided at the last token around block {jumped.value:.0f} "
        f"[{jumped.low:.0f}, {jumped.high:.0f}] ({len(kept.pairs)} pairs). {jumped.summary}"
    )
    strong = [one for one in named if one.name == "component effect" and one.p is not None and one.p <= SIGNIFICANT]
    if not strong:
        return told + " No single head or MLP that was patched does more than unrelated prompts do."
    best = max(strong, key=lambda one: one.value or 0.0)
    assert best.site is not None
    what = f"head {best.site.head}" if best.site.head is not None else "the MLP"
    return told + f" The strongest single part is {what} of block {best.site.layer}, with {best.value:.0%} of the gap."


def _effects(
    name: str, seen: Effects, places: Sequence[Place], pairs: int, told: Sequence[str] | None = None
) -> list[Finding]:
    (low, high), (null_low, null_high) = seen.interval, seen.band
    return [
        Finding(
            name=name,
            value=float(seen.value[row]),
            low=float(low[row]),
            high=float(high[row]),
            null_low=float(null_low[row]),
            null_high=float(null_high[row]),
            p=float(seen.p[row]),
            count=pairs,
            site=Site(kind=place.site, layer=place.layer, head=place.head, position="last"),
            unit=UNIT,
            evidence="intervention",
            summary=told[row] if told else "",
        )
        for row, place in enumerate(places)
    ]
