"""The study as findings, and one conclusion for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, sqrt

import numpy as np
from deepsight_causal import Effect

from deepsight_core.protocol import Finding, Site
from deepsight_core.scoring import Comparison
from deepsight_core.statistics import holm
from deepsight_refusal_direction.behaviour import Conduct
from deepsight_refusal_direction.candidates import Candidate, Trial
from deepsight_refusal_direction.trial import Cost, Tested

SCORE = "log-odds"
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""
_DOES = {"ablation": "taken out of all that is written to the residual stream", "addition": "added to what enters"}


def site(candidate: Candidate) -> Site:
    return Site(kind="resid_in", layer=candidate.layer, position=candidate.position)


def described(chosen: Trial, fitted_on: int, length: float, passed: bool) -> Finding:
    """The chosen direction: where, how long, and by which rule."""
    at = chosen.candidate
    rule = "it passed the published filter" if passed else "the best ranked of the Pareto front, for none passed"
    moved = "" if chosen.divergence is None else f"; KL {chosen.divergence:.2f} nats on harmless prompts"
    return Finding(
        name="chosen direction",
        value=length,
        count=fitted_on,
        site=site(at),
        unit="mean lengths of an activation",
        headline=True,
        summary=f"Block input at layer {at.layer}, {at.position}: {rule}. On the samples it was chosen on, the refusal "
        f"score goes by {chosen.ablated.value:+.2f} when it is taken out and by {chosen.added.value:+.2f} when it is "
        f"added{moved}. The value is its length. Vector {at.digest}.",
    )


def scored(
    tested: Mapping[str, Tested], where: Site, names: Mapping[str, str], ids: Sequence[str]
) -> dict[str, Finding]:
    """By edit, the change of the refusal score; p values are corrected for the two (Holm)."""
    corrected = holm([one.p for one in tested.values()])
    found = {}
    for (edit, one), p in zip(tested.items(), corrected, strict=True):
        low, high = one.band
        found[edit] = Finding(
            name=f"refusal score under {edit}",
            value=one.effect.value,
            low=one.effect.low,
            high=one.effect.high,
            null_low=low,
            null_high=high,
            p=p,
            count=one.effect.count,
            site=where,
            unit=SCORE,
            headline=True,
            evidence="intervention",
            samples=tuple(ids[row] for row in one.rows),
            summary=f"Held-out {names[edit]} samples: mean score {one.before.mean():.2f} before and "
            f"{one.after.mean():.2f} with the direction {_DOES[edit]}"
            f"{f' block {where.layer}' if edit == 'addition' else ''}. Null and p: {len(one.null)} random "
            f"directions of the same length, on {one.compared} of the samples; p takes their effects for normal.",
        )
    return found


def conducted(conduct: Sequence[Conduct], where: Site, names: Mapping[str, str]) -> list[Finding]:
    """The change of the refusal rate under both edits and under a random direction; p corrected for the two (Holm)."""
    corrected = holm([one.direction.p if one.direction.p is not None else 1.0 for one in conduct])
    found = []
    for one, p in zip(conduct, corrected, strict=True):
        found += [
            _rate(one.edit, one.direction, names[one.edit], where, p),
            _rate(one.edit, one.control, names[one.edit], where, None),
        ]
    return found


def _rate(edit: str, change: Comparison, name: str, where: Site, p: float | None) -> Finding:
    control = p is None
    return Finding(
        name=f"{'control: ' if control else ''}refusals under {edit}",
        value=change.difference,
        low=change.low,
        high=change.high,
        p=change.p if control else p,
        count=change.count,
        site=where,
        unit="share of answers",
        headline=not control,
        evidence="control" if control else "intervention",
        summary=f"{name.capitalize()} samples asked again{' under a random direction' if control else ''}: "
        f"{change.a or 0:.0%} refused before, {change.b or 0:.0%} after.",
    )


def costs(found: Mapping[tuple[str, str], Cost], where: Site) -> Iterator[Finding]:
    """By edit and by whose answers: how much the loss on them changes."""
    for (edit, text), one in found.items():
        yield _loss(f"loss on {text} under {edit}", one.effect, where, one.before)
        if one.control is not None:
            yield _loss(f"control: loss on {text} under {edit}", one.control, where, one.before)


def _loss(name: str, change: Effect, where: Site, before: float) -> Finding:
    control = name.startswith("control")
    return Finding(
        name=name,
        value=change.value,
        low=change.low,
        high=change.high,
        p=change.p,
        count=change.count,
        site=where,
        unit="nats a token",
        evidence="control" if control else "intervention",
        summary=f"From {before:.2f} nats a token{' under a random direction' if control else ''}: what the edit costs.",
    )


def agreement(chosen: Candidate, others: Mapping[str, float], fitted_on: int) -> Iterator[Finding]:
    """Cosines: of two halves of the data, and with the directions at the other positions of the same layer."""
    half = 1.96 / sqrt(len(chosen.vector))
    values = {"split-half cosine": chosen.halves}
    values |= {f"cosine with the direction at {position}": value for position, value in others.items()}
    for name, value in values.items():
        yield Finding(
            name=name,
            value=value if isfinite(value) else None,
            null_low=-half,
            null_high=half,
            count=fitted_on,
            site=site(chosen),
            unit="cosine",
            summary="How far the data fix the direction: two halves of the fitting samples."
            if name.startswith("split")
            else "Where the positions differ, what is harmful and what is refused need not be one direction. Both are "
            "fitted on the same samples.",
        )


def profile(screened: Sequence[Trial]) -> Iterator[Finding]:
    """The candidates that were screened, over the layers, on samples of the part that they were chosen on."""
    for trial in screened:
        for name, change in (("ablation", trial.ablated), ("addition", trial.added)):
            yield Finding(
                name=f"screening: refusal score under {name}",
                value=change.value,
                low=change.low,
                high=change.high,
                count=change.count,
                site=site(trial.candidate),
                unit=SCORE,
                evidence="intervention",
            )


def works(edit: str, score: Finding, conduct: Sequence[Conduct], rates: Sequence[Finding]) -> bool:
    """Whether an edit does what a refusal direction's would: beyond random directions, and in what the model does
    where it was asked again."""
    sense = -1 if edit == "ablation" else 1
    if not _significant(score, sense):
        return False
    if not conduct:
        return True
    control = next((one.control.difference or 0.0 for one in conduct if one.edit == edit), None)
    rate = next((rate for rate in rates if rate.name == f"refusals under {edit}"), None)
    if rate is None or rate.value is None or control is None:
        return False
    return _significant(rate, sense) and sense * rate.value > sense * control


def conclusion(
    scores: Mapping[str, Finding], conduct: Sequence[Conduct], rates: Sequence[Finding], chosen: Candidate
) -> str:
    """One or two sentences; `scores` by edit."""
    ablation, addition = (works(edit, scores[edit], conduct, rates) for edit in ("ablation", "addition"))
    verdict = {
        (True, True): "One direction carries refusal: taking it out stops refusals and adding it brings them about",
        (True, False): "One direction is needed for refusal but does not bring it about by itself",
        (False, True): "One direction brings refusals about, but taking it out does not stop them",
        (False, False): "No causal refusal direction was found",
    }[ablation, addition]
    if conduct:
        told = "; ".join(
            f"{one.edit}: {one.direction.a or 0:.0%} refused before, {one.direction.b or 0:.0%} after "
            f"(random direction {one.control.b or 0:.0%})"
            for one in conduct
        )
    else:
        told = "; ".join(f"{edit}: refusal score {score.value:+.2f}" for edit, score in scores.items())
    return f"{verdict} (layer {chosen.layer}, {chosen.position}; {told})."


def length(candidate: Candidate) -> float:
    """Of the direction, in mean lengths of an activation at its place."""
    return float(np.linalg.norm(candidate.vector) / np.linalg.norm(candidate.states, axis=1).mean())


def _significant(finding: Finding, sense: int) -> bool:
    return (
        finding.value is not None and sense * finding.value > 0 and finding.p is not None and finding.p <= SIGNIFICANT
    )
