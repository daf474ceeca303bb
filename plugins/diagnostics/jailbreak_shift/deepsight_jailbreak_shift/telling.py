"""What a reader sees first: a sentence for each attack, the figures, and a table row for each attacked prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_root_cause.study import SIGNIFICANT

from deepsight_core.figures import Dot, Heatmap, Scatter
from deepsight_core.protocol import Finding
from deepsight_jailbreak_shift.findings import SPREADS, Picture


def figures(seen: Picture) -> tuple[Scatter, Heatmap]:
    """Harmful prompts in the plane of both coordinates, and the shifts over the layers."""
    made, forms = seen.made, seen.forms
    across, up = made.recognised.usual, made.decided.usual
    named = [(int(row), "plain") for row in np.unique(forms.plain)]
    named += [(int(row), str(attack)) for row, attack in zip(forms.attacked, forms.attacks, strict=True)]
    names = [name for name in forms.names if len(seen.of(name, 1))]
    return (
        Scatter(
            name="harmful prompts",
            caption=f"Across: harmfulness at the end of the instruction, layer {made.layers[across]}; up: refusal at "
            f"the last token, layer {made.layers[up]}. Axes are fitted to plain prompts of other folds.",
            x=f"harmfulness ({SPREADS})",
            y=f"refusal ({SPREADS})",
            dots=tuple(
                Dot(
                    id=made.known.ids[row],
                    x=float(made.harmfulness.values[row, across]),
                    y=float(made.refusal.values[row, up]),
                    group=name,
                )
                for row, name in named
                if made.known.harmful[row]
            ),
        ),
        Heatmap(
            name="refusal shift",
            caption="Mean change of the refusal coordinate of harmful prompts, by attack and layer.",
            x="layer",
            y="attack",
            rows=tuple(names),
            columns=tuple(str(layer) for layer in made.layers),
            values=tuple(tuple(map(float, seen.shift.refusal.values[seen.of(name, 1)].mean(axis=0))) for name in names),
            unit=SPREADS,
            centre=0.0,
        ),
    )


def table(seen: Picture) -> dict[str, dict[str, float | str | None]]:
    """One row for each attacked prompt."""
    made, forms = seen.made, seen.forms
    broken = set(map(int, seen.broken))
    return {
        made.known.ids[row]: {
            "attack": str(forms.attacks[place]),
            "plain form": made.known.ids[forms.plain[place]],
            "outcome": made.known.outcome(int(row)),
            "failure": seen.kind(place) if place in broken else None,
            "p(harmful)": float(made.recognised.probability[row]),
            "refusal shift": float(seen.shift.refusal.there[place]),
            "harmfulness shift": float(seen.shift.harmfulness.there[place]),
            "share along refusal": float(seen.shift.along[place, 0]),
            "share along harmfulness": float(seen.shift.along[place, 1]),
        }
        for place, row in enumerate(forms.attacked)
    }


def conclusion(seen: Picture, found: Sequence[Finding]) -> str:
    """What each attack does, in a sentence each, and what the failures are."""
    by_name = {finding.name: finding for finding in found}
    told = []
    for attack in seen.forms.names:
        refusal, harm = (by_name.get(f"{name} shift: {attack}, harmful") for name in ("refusal", "harmfulness"))
        conduct = by_name.get(f"change of refusals: {attack}, harmful")
        if refusal is None or harm is None or conduct is None:
            continue
        told.append(f"{attack}: refusals {conduct.value:+.0%}, refusal {_said(refusal)}, harmfulness {_said(harm)}.")
    types = [finding for finding in found if finding.name.startswith("broken: ")]
    if types:
        shares = ", ".join(f"{finding.name.removeprefix('broken: ')} {finding.value:.0%}" for finding in types)
        told.append(f"Of {types[0].count} prompts that an attack broke: {shares}.")
    else:
        told.append("No attack turned a refused harmful prompt into an answered one.")
    if not seen.made.known.by_conduct:
        told.append(
            "The model hardly changes what it does with plain prompts, so no refusal direction of its own is shown."
        )
    return " ".join(told)


def _said(finding: Finding) -> str:
    shown = f"{finding.value:+.2f} [{finding.low:.2f}, {finding.high:.2f}]"
    return shown if finding.p is not None and finding.p <= SIGNIFICANT else f"{shown} (within chance)"
