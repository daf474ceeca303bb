"""The agreement panel: where each method places the decision, on one axis of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepsight_core.agreement import Opinion, agreement
from deepsight_core.protocol import Diagnosis
from deepsight_html.figures import Strip, strip
from deepsight_html.scales import Scale, Tick, domain, ticks
from deepsight_html.text import MISSING

VERDICTS = {True: "agrees", False: "disagrees", None: ""}


@dataclass(frozen=True)
class OpinionRow:
    method: str
    value: str
    """The layer."""
    interval: str
    evidence: str
    verdict: str
    """Whether its interval holds the median; empty where it has none, or stands alone."""
    summary: str
    strip: Strip


@dataclass(frozen=True)
class Panel:
    summary: str
    median: float | None
    """In per cent of the strips' width."""
    axis: tuple[Tick, ...]
    rows: tuple[OpinionRow, ...]


def panel(diagnoses: Sequence[Diagnosis]) -> Panel | None:
    """None when no diagnosis speaks of a decision layer."""
    found = agreement(diagnoses)
    if found is None:
        return None
    scale = Scale(*domain(value for one in found.opinions for value in (one.layer, one.low, one.high)), 3.0, 97.0)
    rows = tuple(_row(opinion, scale) for opinion in found.opinions)
    return Panel(found.summary, scale.maybe(found.median), ticks(scale, whole=True), rows)


def _row(opinion: Opinion, scale: Scale) -> OpinionRow:
    return OpinionRow(
        method=opinion.method,
        value="none found" if opinion.layer is None else f"{opinion.layer:g}",
        interval=MISSING if opinion.low is None or opinion.high is None else f"[{opinion.low:g}, {opinion.high:g}]",
        evidence=opinion.evidence,
        verdict=VERDICTS[opinion.agrees],
        summary=opinion.summary,
        strip=strip(scale, opinion.layer, (opinion.low, opinion.high), (None, None)),
    )
