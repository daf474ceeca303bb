"""The study as findings and figures, and one conclusion for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

import numpy as np
from deepsight_causal import Cases, effect

from deepsight_core.figures import Trajectory
from deepsight_core.protocol import Finding, Site
from deepsight_core.statistics import holm
from deepsight_steering.confirmation import Change
from deepsight_steering.curves import Floats, crossing, half_effect
from deepsight_steering.doses import Ladder, Wear
from deepsight_steering.response import Response
from deepsight_steering.turning import Failures

SCORE = "log-odds"
UNIT = "differences of the class means"
SIGNIFICANT = 0.05
"""The p value up to which sentences speak of an effect."""


def described(share: float, count: int, where: Site, selector: str) -> Finding:
    """The direction's length."""
    return Finding(
        name="length of the direction",
        value=share,
        count=count,
        site=where,
        unit="mean lengths of an activation",
        summary=f"A dose of 1 adds the difference of the means by {selector!r} to what enters block {where.layer}.",
    )


def responses(sides: Sequence[Response], where: Site, seed: int) -> list[Finding]:
    """Slope, monotonicity and dose of half effect of each side; p values of slopes are corrected for the two (Holm)."""
    found = []
    slopes = [side.statistic("slope", seed) for side in sides]
    corrected = holm([slope.p for slope in slopes])
    for side, slope, p in zip(sides, slopes, corrected, strict=True):
        rank = side.statistic("monotonicity", seed)
        tested = f"Null: {len(side.random)} random directions of the same length; p takes their effects for normal."
        found += [
            Finding(
                name=f"slope at zero, {side.name}",
                value=slope.value,
                low=slope.low,
                high=slope.high,
                null_low=slope.null_low,
                null_high=slope.null_high,
                p=p,
                count=slope.count,
                site=where,
                unit=f"{SCORE} a dose of 1",
                headline=True,
                evidence="intervention",
                summary=f"By how much the refusal score of {side.name} samples rises with a small dose. {tested}",
            ),
            Finding(
                name=f"monotonicity, {side.name}",
                value=rank.value,
                low=rank.low,
                high=rank.high,
                null_low=rank.null_low,
                null_high=rank.null_high,
                p=rank.p,
                count=rank.count,
                site=where,
                unit="Spearman's rho",
                evidence="intervention",
                summary=f"Rank correlation of dose and refusal score, mean over samples. {tested}",
            ),
            Finding(
                name=f"dose of half effect, {side.name}",
                value=half_effect(side.doses, side.mean),
                count=len(side.rows),
                site=where,
                unit=UNIT,
                evidence="intervention",
                summary=f"Half of what the largest dose does to the mean score, {side.mean[-1] - _zero(side):+.2f}.",
            ),
        ]
    return found


def costs(
    ladder: Ladder, neutral: Floats, control: Floats, worn: Wear, breaks: float, where: Site
) -> Iterator[Finding]:
    """Where the model breaks, and how its answers at the largest doses read."""
    doses, zero = np.array(ladder.doses), ladder.zero
    for name, losses in (("", neutral), ("control: ", control)):
        rise = losses.mean(axis=0) - losses[:, zero].mean()
        for sign, walk in (("positive", slice(zero, None)), ("negative", slice(zero, None, -1))):
            yield Finding(
                name=f"{name}collapse at a {sign} dose",
                value=crossing(doses[walk], rise[walk], breaks),
                count=len(losses),
                site=where,
                unit=UNIT,
                evidence="control" if name else "intervention",
                summary=f"Smallest dose{' of a random direction' if name else ''} that raises the loss on neutral text "
                f"by {breaks:g} nats a token; none where the largest raises it by {rise[walk][-1]:.2f}.",
            )
    for place in (0, len(doses) - 1):
        for name, values, unit in (
            ("loss of own answers", worn.loss, "nats a token"),
            ("repetition in own answers", worn.repeated, "share of 3-grams"),
        ):
            rows = np.isfinite(values[:, [zero, place]]).all(axis=1)
            if not rows.any():
                continue
            changed = effect(values[rows, zero], values[rows, place], np.arange(int(rows.sum())))
            yield Finding(
                name=f"{name} at dose {doses[place]:+g}",
                value=changed.value,
                low=changed.low,
                high=changed.high,
                p=changed.p,
                count=changed.count,
                site=where,
                unit=unit,
                evidence="intervention",
                summary=f"Change from {values[rows, zero].mean():.2f} without an edit; answers that were written under "
                "the dose, read by the unedited model.",
            )


def turning(kinds: Sequence[Failures], ends: tuple[str, str], where: Site) -> Iterator[Finding]:
    """The dose that turns half of the failures of each kind, and what it costs."""
    for failures, side in zip(kinds, ends, strict=True):
        turned = [one for one in failures.turned if one.dose is not None]
        what = f"{side} but {failures.kind}"
        yield Finding(
            name=f"dose that turns half: {what}",
            value=failures.median,
            count=len(failures.turned),
            site=where,
            unit=UNIT,
            headline=bool(failures.turned),
            evidence="intervention",
            samples=tuple(one.id for one in turned),
            summary=f"{len(turned)} of {len(failures.turned)} held-out failures ({what}) turn their score within the "
            f"doses{_price(failures)}.{_elsewhere(failures)}",
        )


def behaviour(changes: Sequence[Change], where: Site) -> Iterator[Finding]:
    """The change of the refusal rate under the median doses, on both sides; p corrected for all of them (Holm)."""
    corrected = holm([one.comparison.p if one.comparison.p is not None else 1.0 for one in changes])
    for one, p in zip(changes, corrected, strict=True):
        change = one.comparison
        yield Finding(
            name=f"refusals of {one.side} at the dose for failures {one.kind!r}",
            value=change.difference,
            low=change.low,
            high=change.high,
            p=p,
            count=change.count,
            site=where,
            unit="share of answers",
            headline=True,
            evidence="intervention",
            summary=f"Held-out {one.side} samples asked again at dose {one.dose:+.2f}: {change.a or 0:.0%} refused "
            f"before, {change.b or 0:.0%} after.",
        )


def conclusion(found: Sequence[Finding], sides: Sequence[Response], where: Site) -> str:
    """One or two sentences."""
    named = {finding.name: finding for finding in found}
    slopes = [(side, named[f"slope at zero, {side.name}"]) for side in sides]
    ruling = [side.name for side, slope in slopes if (slope.p or 0) <= SIGNIFICANT and (slope.value or 0) > 0]
    told = "; ".join(
        f"{side.name} {side.mean[0]:.1f} to {side.mean[-1]:.1f} from dose {side.doses[0]:+g} to {side.doses[-1]:+g}"
        for side in sides
    )
    collapse = named["collapse at a positive dose"].value
    limit = "neutral text is kept within the doses" if collapse is None else f"neutral text breaks at {collapse:+.2f}"
    verdict = (
        f"The direction raises the refusal score of {' and '.join(f'{name} samples' for name in ruling)} more than "
        "random directions do"
        if ruling
        else "The direction moves the refusal score no more than random directions do"
    )
    return f"{verdict} (layer {where.layer}; mean score: {told}; {limit})."


def table(
    sides: Sequence[Response], given: Cases, kinds: Sequence[Failures]
) -> dict[str, dict[str, float | str | None]]:
    """A row for each held-out sample; failures with what it takes to turn them."""
    rows: dict[str, dict[str, float | str | None]] = {}
    for side in sides:
        for row, scores in zip(side.rows, side.scores, strict=True):
            rows[given.ids[row]] = {
                f"score at dose {dose:+g}": float(score) for dose, score in zip(side.doses, scores, strict=True)
            }
    for failures in kinds:
        for one in failures.turned:
            rows[one.id] |= {
                "turning dose": one.dose,
                "right samples turned at it": one.others,
                "rise of the neutral loss at it": one.loss,
            }
    return rows


def figures(sides: Sequence[Response], neutral: Floats, control: Floats, worn: Wear) -> tuple[Trajectory, ...]:
    """Curves over the doses, which stand where other figures of this kind have words."""
    doses = sides[0].doses
    drawn = []
    for side in sides:
        low, high = side.band
        drawn.append(
            _curve(
                f"dose-response, {side.name}",
                f"Mean refusal score of held-out {side.name} samples; the band is where 95 % of random directions of "
                "the same length lead.",
                f"refusal score ({SCORE})",
                doses,
                side.mean,
                (low, high),
            )
        )
    spread = 1.96 * control.std(axis=0) / np.sqrt(len(control))
    at = control.mean(axis=0)
    drawn.append(
        _curve(
            "loss on neutral text by dose",
            "What the dose costs; the band is the mean under a random direction, give or take 1.96 standard errors.",
            "nats a token",
            doses,
            neutral.mean(axis=0),
            (at - spread, at + spread),
        )
    )
    read = [float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None for column in worn.loss.T]
    drawn.append(
        _curve(
            "loss of own answers by dose",
            "Answers that were written under the dose, read by the unedited model: how little they are its own.",
            "nats a token",
            doses,
            read,
        )
    )
    return tuple(drawn)


def ends(contrast: str) -> tuple[str, str]:
    """Names of the two sides."""
    what = contrast.partition(":")[2]
    return what, f"not {what}"


def _curve(
    name: str,
    caption: str,
    y: str,
    doses: Floats,
    values: Sequence[float | None] | Floats,
    band: tuple[Floats, Floats] | None = None,
) -> Trajectory:
    low, high = band or ((), ())
    return Trajectory(
        name=name,
        caption=caption,
        x=f"dose ({UNIT})",
        y=y,
        values=tuple(None if value is None else float(value) for value in values),
        words=tuple(f"{dose:+g} " for dose in doses),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
    )


def _zero(side: Response) -> float:
    return float(side.mean[int(np.flatnonzero(side.doses == 0)[0])])


def _price(failures: Failures) -> str:
    prices = [one for one in failures.turned if one.dose is not None]
    if not prices:
        return ""
    others = [one.others for one in prices if one.others is not None]
    loss = [one.loss for one in prices if one.loss is not None]
    told = f", which turns {mean(others):.0%} of the right samples of the other side on average" if others else ""
    return f"{told} and raises the loss on neutral text by {mean(loss):.2f} nats a token"


def _elsewhere(failures: Failures) -> str:
    if not failures.elsewhere:
        return ""
    return f" {failures.elsewhere} more failures do not show in the first token's score."
