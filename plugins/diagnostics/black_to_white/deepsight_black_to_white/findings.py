"""Each question's ascent as findings, and as sentences that claim what was shown and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from deepsight_probing import calibration_error, truthful_errors

from deepsight_black_to_white.questions import Question
from deepsight_black_to_white.study import Ascent, Gain, Rung
from deepsight_core.crossfit import familywise_p
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import holm, percentile_interval, permutation_p, wilson

TEXT, TOKEN, STATES = "text", "text and first token", "text, first token and states"


@dataclass(frozen=True)
class Answer:
    """What came of one question."""

    question: Question
    within: Ascent
    """Cross-validated by cluster; ranked within each data set."""
    unseen: Ascent | None
    """Each data set predicted by what was learnt on the others; None where there are not two."""

    @property
    def gains(self) -> list[Gain]:
        """All that a claim rests on."""
        found = [self.within.over_text, self.within.over_token]
        if self.unseen is not None:
            found += [self.unseen.over_text, self.unseen.over_token]
        return [gain for gain in found if gain is not None]


def corrected(answers: Sequence[Answer]) -> list[Answer]:
    """p values of all gains together, by Holm's method."""
    adjusted = iter(holm([gain.p for answer in answers for gain in answer.gains]))

    def ascent(one: Ascent) -> Ascent:
        over_text = replace(one.over_text, p=next(adjusted))
        over_token = None if one.over_token is None else replace(one.over_token, p=next(adjusted))
        return replace(one, over_text=over_text, over_token=over_token)

    return [
        replace(answer, within=ascent(answer.within), unseen=None if answer.unseen is None else ascent(answer.unseen))
        for answer in answers
    ]


def rate(question: Question, data: int | None = None) -> Finding:
    """How often it happened, in all or in one data set."""
    yes, count = question.happened(data)
    rows = question.groups if data is None else question.groups[question.data == data]
    clusters = len(np.unique(rows))
    low, high = wilson(yes / count * clusters, clusters)
    where = "" if data is None else f" in {question.datasets[data]}"
    return Finding(
        name=f"{question.name}: rate{where}",
        value=yes / count,
        low=low,
        high=high,
        count=count,
        unit="share",
        summary=f"{yes} of {count} samples{where}; Wilson interval for {clusters} clusters.",
    )


def findings(answer: Answer, position: str, seed: int) -> Iterator[Finding]:
    question, within = answer.question, answer.within
    yield from _gains(answer, within, "", position)
    if answer.unseen is not None:
        yield from _gains(answer, answer.unseen, " on an unseen data set", position)
    yield rate(question)
    if len(question.datasets) > 1:
        yield from (rate(question, number) for number in range(len(question.datasets)))
    for ascent, where in ((within, ""), (answer.unseen, " on an unseen data set")):
        if ascent is not None:
            yield from _aurocs(question, ascent, where)
    yield _calibration(question, within.text, TEXT, seed)
    yield _calibration(question, within.states, _top(within), seed)
    yield from _profile(question, within, position)


def sentences(answer: Answer) -> str:
    question, within = answer.question, answer.within
    yes, count = question.happened()
    told = [
        f"Which samples are {question.name} ({yes} of {count}) is predicted from the text with AUROC "
        f"{_shown(within.text)}, and with the states beside it with {_shown(within.states)}: "
        f"{_verdict(within.over_text)}"
    ]
    if within.over_token is not None:
        told.append(f"Beyond what the model is about to say, {_verdict(within.over_token)}")
    if answer.unseen is not None:
        told.append(f"On a data set that was not learnt from, {_verdict(answer.unseen.over_text)}")
    return " ".join(told)


def usual_layer(ascent: Ascent) -> int | None:
    """The layer by whose states most samples were predicted; None where most were predicted without."""
    return Counter(ascent.layers).most_common(1)[0][0]


def _verdict(gain: Gain) -> str:
    size = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], p {gain.p:.3f}"
    return (
        f"looking inside adds {size}." if gain.shown else f"nothing is shown to be gained by looking inside ({size})."
    )


def _gains(answer: Answer, ascent: Ascent, where: str, position: str) -> Iterator[Finding]:
    question, layer = answer.question, usual_layer(ascent)
    site = None if layer is None else Site(kind="resid_out", layer=layer, position=position)
    for gain, below in ((ascent.over_text, TEXT), (ascent.over_token, TOKEN)):
        if gain is None:
            continue
        yield Finding(
            name=f"{question.name}: gain over {below}{where}",
            value=gain.value,
            low=gain.low,
            high=gain.high,
            null_low=gain.null_low,
            null_high=gain.null_high,
            p=gain.p,
            count=len(question),
            site=site,
            unit="AUROC difference",
            headline=True,
            summary=f"What the states add to {below}, on the same held-out samples and bootstrap draws. Null: outcomes "
            f"shuffled among samples that {below} predicts alike, all choices made anew. p is corrected by Holm's "
            "method for all gains of this diagnosis.",
        )
        yield Finding(
            name=f"{question.name}: gain in Brier skill over {below}{where}",
            value=gain.skill,
            low=gain.skill_low,
            high=gain.skill_high,
            count=len(question),
            site=site,
            unit="share of the base rate's Brier score",
            summary="How much closer the held-out probabilities come to the outcomes; 1 would be from base rate to "
            "certainty. It has an interval and no null.",
        )


def _aurocs(question: Question, ascent: Ascent, where: str) -> Iterator[Finding]:
    for rung, name in ((ascent.text, TEXT), (ascent.first_token, TOKEN), (ascent.states, _top(ascent))):
        if rung is not None:
            null = rung.null
            low, high = rung.interval
            null_low, null_high = percentile_interval(null)
            yield Finding(
                name=f"{question.name}: auroc of {name}{where}",
                value=rung.value,
                low=low,
                high=high,
                null_low=null_low,
                null_high=null_high,
                p=permutation_p(rung.value, null),
                count=len(question),
                unit="AUROC",
                evidence="correlational" if rung is ascent.states else "control",
                summary="Pairs of one fold and data set. Null: outcomes shuffled within data sets. p is not corrected.",
            )


def _top(ascent: Ascent) -> str:
    return "text and states" if ascent.first_token is None else STATES


def _calibration(question: Question, rung: Rung, name: str, seed: int) -> Finding:
    value = float(calibration_error(rung.probability, question.y[:, None])[0])
    null = truthful_errors(rung.probability, 1000, seed)
    low, high = percentile_interval(null)
    return Finding(
        name=f"{question.name}: calibration error of {name}",
        value=value,
        null_low=low,
        null_high=high,
        p=permutation_p(value, null),
        count=len(question),
        unit="ECE",
        summary="Mean gap between held-out probability and frequency over ten bins; the null band is what truthful "
        "probabilities would show.",
    )


def _profile(question: Question, ascent: Ascent, position: str) -> Iterator[Finding]:
    corrected_p = familywise_p([gain.value for _, gain, _ in ascent.profile], [null for _, _, null in ascent.profile])
    first: int | None = None
    for (layer, gain, _), p in zip(ascent.profile, corrected_p, strict=True):
        if first is None and p <= 0.05 and gain.low > 0:
            first = layer
        yield Finding(
            name=f"{question.name}: gain over text by layer",
            value=gain.value,
            low=gain.low,
            high=gain.high,
            null_low=gain.null_low,
            null_high=gain.null_high,
            p=float(p),
            count=len(question),
            site=Site(kind="resid_out", layer=layer, position=position),
            unit="AUROC difference",
        )
    yield Finding(
        name=f"{question.name}: first layer that adds to the text",
        value=first,
        count=len(question),
        unit="layer",
        summary="The first whose gain has an interval above 0 and p <= 0.05, corrected for all layers looked at."
        if first is not None
        else "No layer's gain has an interval above 0 and p <= 0.05, corrected for all layers looked at.",
    )


def _shown(rung: Rung) -> str:
    low, high = rung.interval
    return f"{rung.value:.3f} [{low:.3f}, {high:.3f}]"
