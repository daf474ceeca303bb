"""Do the methods of a run agree on the layer at which the model decides?

A diagnostic takes part by a finding of the name `decision layer`, whose value is a decoder block (from 0) with an
interval; the value is None where it looked and found none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import median
from typing import Literal

from deepsight_core.protocol import Diagnosis, Finding

DECISION_LAYER = "decision layer"


@dataclass(frozen=True)
class Opinion:
    """What one method says."""

    method: str
    layer: float | None
    """None where it found no such layer."""
    low: float | None
    high: float | None
    evidence: Literal["correlational", "intervention", "control"]
    summary: str = ""
    agrees: bool | None = None
    """Whether its interval holds the median of all methods; None where it has no interval, or where there is nobody
    to agree with."""


@dataclass(frozen=True)
class Agreement:
    """All opinions of a run, the earliest layer first, and what they amount to."""

    opinions: tuple[Opinion, ...]
    median: float | None
    """Of the layers that were found; None below two."""

    @property
    def summary(self) -> str:
        """One or two sentences, which say so where the methods disagree."""
        found = [opinion for opinion in self.opinions if opinion.layer is not None]
        silent = [opinion.method for opinion in self.opinions if opinion.layer is None]
        none = f" {_listed(silent)} found none." if silent else ""
        if self.median is None:
            said = f"Only {found[0].method} found a layer, {found[0].layer:g}." if found else "No method found a layer."
            return said + (none if found else "")
        agree = [opinion for opinion in found if opinion.agrees]
        against = [_placed(opinion) for opinion in found if opinion.agrees is False]
        open_ = [opinion.method for opinion in found if opinion.agrees is None]
        causal = [opinion.method for opinion in agree if opinion.evidence == "intervention"]
        told = f"{len(agree)} of {len(found)} methods agree with the median, layer {self.median:g}"
        told += f", {_listed(causal)} by intervention." if causal else "; none of them intervened." if agree else "."
        if against:
            told += f" The methods disagree: the median is outside the interval of {_listed(against)}."
        if open_:
            told += f" {_listed(open_)} gave no interval."
        return told + none


def agreement(diagnoses: Sequence[Diagnosis]) -> Agreement | None:
    """The panel of a run; None when no diagnosis speaks of a decision layer."""
    found = [
        (_method(diagnosis), finding)
        for diagnosis in diagnoses
        for finding in diagnosis.findings
        if finding.name == DECISION_LAYER
    ]
    if not found:
        return None
    opinions = [_opinion(method, finding) for method, finding in _told_apart(found)]
    layers = [opinion.layer for opinion in opinions if opinion.layer is not None]
    middle = median(layers) if len(layers) > 1 else None
    judged = (replace(opinion, agrees=_agrees(opinion, middle)) for opinion in opinions)
    return Agreement(tuple(sorted(judged, key=_order)), middle)


def _opinion(method: str, finding: Finding) -> Opinion:
    layer, low, high = (
        value if value is not None and isfinite(value) else None for value in (finding.value, finding.low, finding.high)
    )
    return Opinion(method, layer, low, high, finding.evidence, finding.summary)


def _agrees(opinion: Opinion, middle: float | None) -> bool | None:
    if middle is None or opinion.layer is None or opinion.low is None or opinion.high is None:
        return None
    return opinion.low <= middle <= opinion.high


def _told_apart(found: Sequence[tuple[str, Finding]]) -> list[tuple[str, Finding]]:
    """Methods of one name by their site, and by a number where that is the same too."""
    often = Counter(method for method, _ in found)
    named = [(f"{method}, {_place(finding)}" if often[method] > 1 else method, finding) for method, finding in found]
    often, seen = Counter(method for method, _ in named), Counter[str]()
    numbered = []
    for method, finding in named:
        seen[method] += 1
        numbered.append((f"{method} ({seen[method]})" if often[method] > 1 else method, finding))
    return numbered


def _method(diagnosis: Diagnosis) -> str:
    return " ".join(word for word in (diagnosis.diagnostic, diagnosis.mode) if word)


def _place(finding: Finding) -> str:
    site = finding.site
    return ", ".join(filter(None, (site.kind, site.position))) if site else "unplaced"


def _order(opinion: Opinion) -> tuple[bool, float, str]:
    return opinion.layer is None, opinion.layer or 0.0, opinion.method


def _placed(opinion: Opinion) -> str:
    return f"{opinion.method} ({opinion.layer:g} [{opinion.low:g}, {opinion.high:g}])"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
