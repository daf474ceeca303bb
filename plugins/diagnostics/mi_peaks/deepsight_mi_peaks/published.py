"""The published procedure, oddities included: one layer, sigma 50, tokens named one step too early."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.figures import Trajectory
from deepsight_core.inside import Acts, Array, Inside, Prompt, Steps, Want
from deepsight_core.protocol import Diagnosis, Finding, Site
from deepsight_mi_peaks.kernel import PUBLISHED, dependence, factor, factors
from deepsight_mi_peaks.study import finite

Floats = NDArray[np.float64]

LAYER = 31
NEW_TOKENS = 512
TOP_STEPS = 20
TOP_TOKENS = 15
_WORD = re.compile(r"[a-zA-Z]+")


def reproduce(name: str, asked: Sequence[Prompt], acts: Acts, want: Want, inside: Inside) -> Diagnosis:
    """Generate from the bare problems, re-read, and conclude. `acts` hold the reference answers under `want`."""
    written = inside.generate(asked, NEW_TOKENS, raw=True)
    answered = [
        prompt.model_copy(update={"answer": one.text, "answer_tokens": one.tokens})
        for prompt, one in zip(asked, written, strict=True)
        if len(one.tokens) > 1  # one value is dropped
    ]
    if not answered:
        raise DiagnosticError(
            "without the chat template the model answered no problem by more than one token, which leaves no value; "
            'use mode = "corrected"'
        )
    steps = Want(layers=want.layers, positions=Steps(), text="exchange", raw=True)
    seen = inside.run([steps], answered)
    references = vectors(acts, want, [prompt.id for prompt in answered])[:, 0]
    rows = zip(answered, seen.each(steps), references, inside.read(steps, answered), strict=True)
    answers = [
        published(prompt.id, finite(states, prompt.id)[0], reference, words)
        for prompt, states, reference, words in rows
    ]
    site = Site(kind="resid_out", layer=seen.layers[steps][0], position="steps")
    findings = published_findings(answers, site)
    return Diagnosis(
        diagnostic=name,
        mode="reference",
        summary=f"Mean value {findings[0].value:.4f} at layer {site.layer} over {len(answers)} answers, as published.",
        findings=findings,
        table={one.id: one.line for one in answers},
        figures=(mean_trajectory(answers, site),),
        caveats=(*CAVEATS, *_missing(len(asked) - len(answers), len(asked))),
    )


@dataclass(frozen=True)
class Published:
    """One answer as published: the first value and the last token are dropped."""

    id: str
    values: Floats
    words: tuple[str, ...]
    """As many as values. Number i is the token *before* the one that the state of value i decided."""

    @property
    def top(self) -> list[str]:
        """The tokens at the highest values, those that are all letters, by falling value."""
        order = np.argsort(-self.values, kind="stable")[:TOP_STEPS]
        return [word for place in order if _WORD.fullmatch(word := self.words[place].strip())]

    @property
    def line(self) -> dict[str, float]:
        return {
            "steps": float(self.values.size),
            "mean value": float(self.values.mean()),
            "highest value": float(self.values.max()),
        }


def _missing(count: int, asked: int) -> list[str]:
    if not count:
        return []
    return [
        f"{count} of {asked} problems got an answer of one token or none, which leaves no value once the first is "
        "dropped: without the chat template a model may have nothing to say."
    ]


def published(id: str, states: Array, reference: Array, words: Sequence[str]) -> Published:
    """From the states that decided each token, (steps, width), the reference answer's state, (width,), and the tokens.

    Values are computed in float64; the float32 of the published code cancels, by up to 60 % of the value.
    """
    target = factor(reference[None].astype(np.float64), PUBLISHED)
    values = [dependence(psi, target)[:, 0] for _, psi in factors(states, PUBLISHED)]
    return Published(id, np.concatenate(values)[1:], tuple(words[:-1]))


def ragged_mean(rows: Sequence[Floats]) -> Floats:
    """The mean at each step over the rows that are as long."""
    longest = max(len(row) for row in rows)
    total, alive = np.zeros(longest), np.zeros(longest)
    for row in rows:
        total[: len(row)] += row
        alive[: len(row)] += 1
    return np.asarray(total / alive)


def published_findings(answers: Sequence[Published], site: Site) -> tuple[Finding, ...]:
    every = np.concatenate([one.values for one in answers])
    mean = Finding(
        name="mean value",
        value=float(every.mean()),
        count=len(answers),
        site=site,
        headline=True,
        summary="Mean over all steps of all answers, sigma 50: in the units of the activations, not bits.",
    )
    counted = Counter(word for one in answers for word in one.top)
    return (
        mean,
        *(
            Finding(
                name=f"thinking token {word!r}",
                value=float(count),
                count=len(answers),
                site=site,
                unit="occurrences among the top steps",
            )
            for word, count in counted.most_common(TOP_TOKENS)
        ),
    )


def mean_trajectory(answers: Sequence[Published], site: Site) -> Trajectory:
    values = ragged_mean([one.values for one in answers])
    return Trajectory(
        name="mean trajectory",
        caption=f"Layer {site.layer}: mean over the answers that are as long, ever fewer of {len(answers)}.",
        x="step",
        y="value (sigma 50)",
        values=tuple(float(value) for value in values),
    )


CAVEATS = (
    "The value is a kernel dependence between the coordinates of two vectors, not a mutual information in bits. It "
    "depends on the scale of the activations and does not compare across models or layers.",
    "As published, each value is named by the token before the one that its state decided.",
    "Values are computed in float64; the published float32 cancels and can be off by 60 %.",
    'There is no interval, no null and no control in this mode; use mode = "corrected" for those.',
)
