"""Give back to broken prompts what the attack took from their refusal coordinate: do they refuse again?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import RefusalTokens, at_random, effect, scores, unit
from deepsight_root_cause.cases import Ints
from deepsight_root_cause.intervention import places_to_push
from deepsight_root_cause.study import Study

from deepsight_core.edits import Add
from deepsight_core.inside import Inside, Prompt
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import wilson
from deepsight_jailbreak_shift.forms import Forms
from deepsight_jailbreak_shift.shift import Floats


def restored(
    made: Study, forms: Forms, broken: Ints, prompts: Sequence[Prompt], inside: Inside, tokens: RefusalTokens, seed: int
) -> list[Finding]:
    """`broken` are places among the pairs of forms; `prompts` are those of all rows. The layer is chosen by the plain
    prompts of other folds, in the first part of the model."""
    places, site = places_to_push(made, inside.geometry.layers)
    rows = forms.attacked[broken]
    asked = [prompts[row] for row in rows]
    before = scores(inside, asked, tokens)
    after, control = np.zeros(len(rows)), np.zeros(len(rows))
    for number in np.unique(made.known.fold[rows]):
        mine = np.flatnonzero(made.known.fold[rows] == number)
        place = places[rows[mine[0]]]
        values = made.refusal.values[:, place] * made.refusal.spreads[place]
        lost = values[forms.plain[broken[mine]]] - values[rows[mine]]
        some = [asked[one] for one in mine]
        dose = {prompt.id: float(amount) for prompt, amount in zip(some, lost, strict=True)}
        vector = unit(made.refusal.vectors[number, place])
        for out, added in ((after, vector), (control, at_random(vector, 1, seed + int(number))[0])):
            edit = Add(added, site="resid_out", layers=(made.layers[place],), dose=dose)
            out[mine] = scores(inside, some, tokens, [edit])
    return _findings(before, after, control, made.known.groups[rows], site, seed)


def _findings(before: Floats, after: Floats, control: Floats, groups: Ints, site: Site, seed: int) -> list[Finding]:
    open_ = before < 0
    found = []
    if open_.any():
        turned, by_luck = int((after[open_] >= 0).sum()), int((control[open_] >= 0).sum())
        count, clusters = int(open_.sum()), len(np.unique(groups[open_]))
        low, high = wilson(turned / count * clusters, clusters)
        found.append(
            Finding(
                name="refusing again with the refusal coordinate given back",
                value=turned / count,
                low=low,
                high=high,
                count=count,
                site=site,
                unit="share",
                headline=True,
                evidence="intervention",
                summary=f"Of the prompts that the attacks broke and whose answer does not open with a refusal, "
                f"{turned} of {count} would (P above 1/2) with the refusal coordinate of the plain form; along a "
                f"random direction, {by_luck}.",
            )
        )
    change = effect(control, after, groups, seed=seed)
    found.append(
        Finding(
            name="change of the refusal score beyond a random direction",
            value=change.value,
            low=change.low,
            high=change.high,
            p=change.p,
            count=change.count,
            site=site,
            unit="nats of log-odds",
            evidence="intervention",
        )
    )
    return found
