"""The findings of the corrected mode: what is told, in which order, and with which null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import holm, percentile_interval, resampled_rows, sign_flip
from deepsight_mi_peaks.matching import gains
from deepsight_mi_peaks.peaks import beyond_position, gap, height, peaks
from deepsight_mi_peaks.summary import Frame
from deepsight_mi_peaks.words import Enriched

OWN = "own answer over other answers"
STRONGEST = "strongest step"
SHARE = "peak share"


def headline_findings(frame: Frame) -> list[Finding]:
    """Three numbers at the layer that was fixed in advance."""
    found = [
        frame.against_shuffled(
            STRONGEST,
            lambda steps: np.max(steps, axis=-1),
            headline=True,
            unit="dependence",
            summary="Dependence of an answer's strongest step on the reference answer (0 chance, 1 equal), mean over "
            "answers. Null: the reference answer's coordinates in random order.",
        ),
        frame.against_shuffled(
            SHARE,
            lambda steps: peaks(steps).mean(axis=-1),
            headline=True,
            unit="share",
            summary="Share of an answer's steps above the third quartile by 1.5 interquartile ranges, mean over "
            "answers. Null: the reference answer's coordinates in random order.",
        ),
    ]
    if frame.partners.size:
        found.insert(1, _own_over_others(frame, frame.answers[0].main, headline=True))
    return found


def peak_findings(frame: Frame) -> list[Finding]:
    """Number, height and spacing of the peaks, and whether they are about this answer, or about the position."""
    answers = frame.answers
    found = [
        frame.mean("peaks per answer", [float(one.flags.sum()) for one in answers], unit="peaks"),
        frame.mean(
            "height of peaks",
            [height(one.trajectory, one.flags) for one in answers],
            unit="interquartile ranges",
            summary="Mean distance of an answer's peaks from its median (the published AOM).",
        ),
        frame.mean("steps from peak to peak", [gap(one.flags) for one in answers], unit="steps"),
    ]
    if frame.partners.size:
        shared = [
            float(peaks(one.course.partners)[:, one.flags].mean()) if one.flags.any() else None for one in answers
        ]
        found.append(
            frame.mean(
                "control: peaks that other reference answers give too",
                shared,
                unit="share",
                evidence="control",
                summary="Share of an answer's peaks that are peaks, too, when it is held against another problem's "
                "reference answer: the nearer to 1, the less peaks say about this answer.",
            )
        )
    compared = beyond_position([one.trajectory for one in answers])
    found.append(
        frame.mean(
            "control: peaks beyond position",
            [stay / known if known else None for known, stay in compared],
            unit="share",
            evidence="control",
            summary="Share of an answer's peaks that stay peaks once the mean of the other answers at the same step is "
            "taken off.",
        )
    )
    found.append(
        frame.mean(
            "control: largest coordinate",
            [float(one.course.largest.mean()) for one in answers],
            unit="share of variance",
            evidence="control",
            summary="Share of a step's variance over coordinates that one coordinate holds: near 1, dependence is that "
            "of this coordinate alone.",
        )
    )
    return found


def profile_findings(frame: Frame, layers: Sequence[int | None]) -> list[Finding]:
    """By layer: dependence, what of it is about this answer, and the published value. p values are Holm's."""
    found = []
    special = []
    for column, layer in enumerate(layers):
        here = replace(frame, site=frame.site.model_copy(update={"layer": layer}))
        found += [
            here.mean("dependence", [float(one.course.own[column].mean()) for one in frame.answers], unit="dependence"),
            here.mean(
                "published value (sigma 50)",
                [float(one.course.published[column].mean()) for one in frame.answers],
                summary="As published: it depends on the scale of the activations, and compares neither across models "
                "nor across layers.",
            ),
        ]
        if frame.partners.size:
            special.append(_own_over_others(here, column, name=f"{OWN}, by layer"))
    adjusted = holm([one.p for one in special if one.p is not None])
    return found + [one.model_copy(update={"p": p}) for one, p in zip(special, adjusted, strict=True)]


def word_findings(words: Sequence[Enriched], site: Site, most: int) -> list[Finding]:
    return [
        Finding(
            name=f"peaks at {one.word!r}",
            value=one.log_odds,
            low=one.low,
            high=one.high,
            p=one.p,
            count=one.count,
            site=site,
            unit="log-odds",
            summary=f"{one.peaks} of its {one.count} occurrences are peaks; log-odds against all tokens, with a prior.",
        )
        for one in words[:most]
    ]


def correctness_findings(frame: Frame, evidence: Evidence, correct: str) -> list[Finding]:
    """Right less wrong answers, where both occur among scored verdicts; describes, and tests nothing."""
    right = set(evidence.cohort(correct))
    scored = {sample.id for sample in evidence.samples if evidence.value(sample, "verdict") is not None}
    rows = [one for one in frame.answers if one.id in scored]
    y = np.array([one.id in right for one in rows], dtype=bool)
    if not len(rows) or y.all() or not y.any():
        return []
    found = []
    for name, values in (
        ("peak share, correct less wrong", [one.flags.mean() for one in rows]),
        ("dependence, correct less wrong", [one.trajectory.mean() for one in rows]),
    ):
        numbers = np.array(values)
        draws = []
        for drawn in resampled_rows([one.cluster for one in rows], frame.resamples, frame.seed):
            picked = y[drawn]
            if 0 < picked.sum() < len(picked):
                draws.append(numbers[drawn][picked].mean() - numbers[drawn][~picked].mean())
        low, high = percentile_interval(draws)
        found.append(
            Finding(
                name=name,
                value=float(numbers[y].mean() - numbers[~y].mean()),
                low=low,
                high=high,
                count=len(rows),
                site=frame.site,
                summary=f"{int(y.sum())} correct and {int((~y).sum())} wrong answers; describes this sample, tests "
                "nothing.",
            )
        )
    return found


def conclusion(findings: Sequence[Finding], site: Site) -> str:
    by_name = {one.name: one for one in findings if one.site == site}
    strongest, share, own = by_name[STRONGEST], by_name[SHARE], by_name.get(OWN)
    told = (
        f"At layer {site.layer}, an answer's strongest step reaches a dependence of {strongest.value:.3f} on the "
        f"reference answer (random order: up to {strongest.null_high:.3f}); {share.value:.1%} of the steps are peaks "
        f"(random order: {share.null_low:.1%} to {share.null_high:.1%})."
    )
    if own is None or own.value is None or own.p is None:
        return told
    if own.p > 0.05 or own.value <= 0:
        return (
            f"{told} Reference answers of other problems do as well (p = {own.p:.2g}): that anything of it is about "
            "this answer does not show."
        )
    return f"{told} Of the mean dependence, {own.value:.4f} is about this answer rather than any (p = {own.p:.2g})."


def _own_over_others(frame: Frame, column: int, name: str = OWN, headline: bool = False) -> Finding:
    own = np.array([one.course.own[column].mean() for one in frame.answers])
    gained = gains(own, np.stack([one.course.others[column] for one in frame.answers]), frame.partners)
    clusters = [one.cluster for one in frame.answers]
    return frame.mean(
        name,
        gained.tolist(),
        p=sign_flip(gained, clusters, frame.seed),
        headline=headline,
        unit="dependence",
        summary="Mean dependence on the own reference answer, less what the answer's dependence on other problems' "
        "reference answers, and theirs on other answers, would lead to expect.",
    )
