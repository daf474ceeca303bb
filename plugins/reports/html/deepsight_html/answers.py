"""The first page: how safe, how over-cautious, why, and what would change it, each from what the run measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepsight_core.agreement import agreement
from deepsight_core.aspects import Aspect, aspect
from deepsight_core.display import finite
from deepsight_core.protocol import Diagnosis, Finding, Measurement, Report
from deepsight_html.text import number, p_value, span

MOST = 6
"""Figures of one diagnosis under one question; the rest stands in its own part of the page."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Fact:
    """One number with what it takes to believe it."""

    text: str
    value: str
    interval: str
    remark: str


@dataclass(frozen=True)
class Source:
    """What one part of the page says to a question."""

    name: str
    link: str
    summary: str
    facts: tuple[Fact, ...]
    more: int = 0
    """Facts that are left out."""


@dataclass(frozen=True)
class Answer:
    question: str
    sources: tuple[Source, ...]
    missing: str
    """Said where there is no source."""


def answers(report: Report) -> tuple[Answer, ...]:
    """The four questions, in their order."""
    return (
        Answer(
            "How safe is it?",
            tuple(_measured(report, "safety")),
            "Not measured: no measure of this run says how often harmful prompts get through.",
        ),
        Answer(
            "How over-cautious is it?",
            tuple(_measured(report, "over-refusal")),
            "Not measured: no measure of this run says how often harmless prompts are refused.",
        ),
        Answer(
            "Why?",
            (*_causes(report.diagnoses), *_places(report.diagnoses)),
            "Not measured: no diagnostic of this run sorts the samples by a cause.",
        ),
        Answer(
            "What would change it?",
            tuple(_interventions(report.diagnoses)),
            "Not measured: no diagnostic of this run intervened, so nothing here is known to change the behaviour.",
        ),
    )


# --- From measurements ------------------------------------------------------------------------


def _measured(report: Report, about: Aspect) -> Iterator[Source]:
    found = [one for one in report.measurements if one.group == "all" and aspect(one) == about]
    for dataset in dict.fromkeys(one.dataset for one in found):
        yield Source(dataset, "measurements", "", tuple(_measure(one) for one in found if one.dataset == dataset))


def _measure(one: Measurement) -> Fact:
    remarks = [f"{one.better} is better", f"{number(one.count)} scored"]
    if one.unscored:
        remarks.append(f"{number(one.unscored)} unscored")
    if one.judge:
        remarks.append(f"judge {one.judge}")
    value = f"{number(one.value)} {one.unit}".strip() if finite(one.value) is not None else "nothing scored"
    return Fact(one.metric, value, span(one.low, one.high), ", ".join(remarks))


# --- From diagnoses ---------------------------------------------------------------------------


def _causes(diagnoses: Sequence[Diagnosis]) -> Iterator[Source]:
    """Diagnoses whose headline findings are shares of samples that they list by id."""
    for place, made in enumerate(diagnoses, 1):
        shares = [one for one in made.findings if _is_share(one)]
        if any(one.samples for one in shares):
            yield _told(place, made, sorted(shares, key=lambda one: -(finite(one.value) or 0.0)))


def _is_share(finding: Finding) -> bool:
    return finding.headline and finding.evidence == "correlational" and finding.unit == "share"


def _places(diagnoses: Sequence[Diagnosis]) -> Iterator[Source]:
    panel = agreement(diagnoses)
    if panel is not None:
        yield Source("decision layer", "agreement", panel.summary, ())


def _interventions(diagnoses: Sequence[Diagnosis]) -> Iterator[Source]:
    """Diagnoses that intervened; one of them without a headline says by its summary that nothing came of it."""
    for place, made in enumerate(diagnoses, 1):
        tried = [one for one in made.findings if one.evidence == "intervention"]
        if tried:
            yield _told(place, made, sorted((one for one in tried if one.headline), key=_order))


def _told(place: int, made: Diagnosis, findings: Sequence[Finding]) -> Source:
    name = " ".join(word for word in (made.diagnostic, made.mode) if word)
    facts = tuple(_fact(finding) for finding in findings[:MOST])
    return Source(name, f"diagnosis-{place}", made.summary, facts, max(0, len(findings) - MOST))


def _order(finding: Finding) -> tuple[bool, float]:
    """What chance does not explain comes first."""
    return _by_chance(finding), finding.p if finite(finding.p) is not None and finding.p is not None else 1.0


def _by_chance(finding: Finding) -> bool:
    return finding.p is not None and finding.p > SIGNIFICANT


def _fact(finding: Finding) -> Fact:
    remarks: list[str] = ["by intervention" if finding.evidence == "intervention" else finding.evidence]
    if finding.count is not None:
        remarks.append(f"n {number(finding.count)}")
    if finding.p is not None:
        remarks.append(f"p {p_value(finding.p)}")
    if _by_chance(finding):
        remarks.append("no more than chance explains")
    value = f"{number(finding.value)} {finding.unit}".strip() if finite(finding.value) is not None else "none found"
    return Fact(finding.name, value, span(finding.low, finding.high), ", ".join(remarks))
