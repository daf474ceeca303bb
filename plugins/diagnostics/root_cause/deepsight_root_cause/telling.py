"""What a reader sees first: the plane of recognition and decision, and a few sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepsight_core.figures import Dot, Scatter
from deepsight_core.protocol import Finding
from deepsight_root_cause.study import SIGNIFICANT, Study


def scatter(made: Study) -> Scatter:
    """Recognition against decision, each at the layer where it was read most often."""
    known, across, up = made.known, made.recognised.usual, made.decided.usual
    return Scatter(
        name="recognition and decision",
        caption=f"Across: harmfulness at the end of the instruction, layer {made.layers[across]}; up: refusal at the "
        f"last token, layer {made.layers[up]}. Each sample is placed by class means without its fold; 0 is halfway "
        "between the classes.",
        x="harmfulness (within-class spreads)",
        y="refusal (within-class spreads)",
        dots=tuple(
            Dot(
                id=known.ids[row],
                x=float(made.harmfulness.values[row, across]),
                y=float(made.refusal.values[row, up]),
                group=known.outcome(int(row)),
            )
            for row in np.flatnonzero(known.reported)
        ),
    )


def conclusion(
    made: Study, recognition: Sequence[Finding], causes: Sequence[Finding], pushed: Sequence[Finding]
) -> str:
    """A few sentences that claim what was shown and no more."""
    told = []
    if made.ranking is not None:
        reading = recognition[0]
        told.append(
            f"The probe ranks harmful above harmless held-out prompts with AUROC {reading.value:.3f} "
            f"[{reading.low:.3f}, {reading.high:.3f}]"
            + ("." if made.readable else ", which is within what shuffled labels give: no failure is decided.")
        )
    for kind, outcome in (("harmful", "answered"), ("harmless", "refused")):
        mine = [finding for finding in causes if finding.name.startswith(f"{kind}: ")]
        if mine:
            shares = ", ".join(
                f"{finding.name.partition(': ')[2]} {finding.value:.0%} [{finding.low:.0%}, {finding.high:.0%}]"
                for finding in mine
            )
            told.append(f"Of {mine[0].count} {kind} prompts that were {outcome}: {shares}.")
        else:
            told.append(f"No {kind} prompt was {outcome}.")
    return " ".join([*told, *_told_by_intervention(pushed)])


def _told_by_intervention(pushed: Sequence[Finding]) -> list[str]:
    by_name = {finding.name: finding for finding in pushed}
    turned = [finding for name, finding in by_name.items() if name.startswith("turned by the refusal direction")]
    beyond = by_name.get("change beyond a random direction")
    if beyond is None:
        return []
    if not any(finding.value for finding in turned):
        told = "Adding the refusal direction turned none of them: no causal refusal direction is shown"
        return [told + (", although it moved the score." if beyond.low is not None and beyond.low > 0 else ".")]
    difference = by_name.get("turned more often where recognised")
    if difference is None:
        return ["; ".join(f"{finding.name} {finding.value:.0%} of {finding.count}" for finding in turned) + "."]
    verdict = "as the causes say" if difference.p is not None and difference.p <= SIGNIFICANT else "which luck may give"
    return [
        f"The refusal direction turns recognised failures more often than others by {difference.value:+.2f} "
        f"[{difference.low:.2f}, {difference.high:.2f}] (p {difference.p:.3f}), {verdict}."
    ]
