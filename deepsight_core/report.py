"""A finished run as report.json, as Markdown, and as the table in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from deepsight_core.agreement import agreement
from deepsight_core.protocol import Diagnosis, Finding, Manifest, Measurement, Report

ARROW = {"higher": "↑", "lower": "↓", "neither": ""}


def build_report(
    manifest: Manifest,
    seconds: Mapping[str, float],
    counts: Mapping[str, int],
    measurements: Sequence[Measurement],
    diagnoses: Sequence[Diagnosis],
    remarks: Sequence[str] = (),
) -> Report:
    return Report(
        manifest=manifest,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        counts=counts,
        measurements=tuple(measurements),
        diagnoses=tuple(diagnoses),
        notes=(*_notes(manifest, counts, diagnoses), *remarks),
    )


def _notes(manifest: Manifest, counts: Mapping[str, int], diagnoses: Iterable[Diagnosis]) -> Iterable[str]:
    for entry in manifest.data:
        if entry["used"] != entry["total"]:
            yield f"{entry['dataset']}: {entry['used']} of {entry['total']} samples were used (limit)"
    if counts.get("unscored"):
        yield f"{counts['unscored']} of {counts['records']} records are unscored: beside the numbers, never in them"
    if counts.get("errors"):
        yield f"{counts['errors']} records have no answer because the machinery failed"
    for diagnosis in diagnoses:
        if diagnosis.error:
            yield f"diagnostic {diagnosis.diagnostic} failed: {diagnosis.error}"


def headline(report: Report) -> list[Measurement]:
    return [measurement for measurement in report.measurements if measurement.group == "all"]


def terminal(report: Report) -> str:
    """The measurements over all records and the headline findings, aligned for a terminal."""
    blocks = [_title(report)]
    rows = [_measurement_row(measurement) for measurement in headline(report)]
    if rows:
        blocks.append(aligned(("data set", "measure", "judge", "value", "95 % interval", "n", "unscored"), rows))
    for diagnosis in report.diagnoses:
        heading = " ".join(word for word in (diagnosis.diagnostic, diagnosis.mode) if word)
        if diagnosis.error:
            blocks.append(_wrapped(f"{heading}: FAILED: {diagnosis.error}"))
            continue
        findings = [_finding_row(finding) for finding in diagnosis.findings if finding.headline]
        table = aligned(("finding", "value", "95 % interval", "null", "p"), findings) if findings else ""
        blocks.append("\n".join(part for part in (_wrapped(f"{heading}: {diagnosis.summary}"), table) if part))
    if report.notes:
        blocks.append("\n".join(_wrapped(f"note: {note}") for note in report.notes))
    return "\n\n".join(blocks)


def markdown(report: Report) -> str:
    """The whole report as a Markdown document."""
    lines = [f"# {report.manifest.name}", "", _title(report), ""]
    lines += [f"> {note}" for note in report.notes]
    lines += ["", "## Measurements", ""]
    lines += _markdown_table(
        ("data set", "measure", "judge", "group", "value", "95 % interval", "worst … best", "n", "unscored"),
        [
            (
                m.dataset,
                f"{m.metric} {ARROW[m.better]}",
                m.judge or "",
                m.group,
                number(m.value),
                interval(m.low, m.high),
                interval(m.worst, m.best),
                str(m.count),
                str(m.unscored),
            )
            for m in report.measurements
        ],
    )
    lines += _agreement_section(report)
    for diagnosis in report.diagnoses:
        lines += ["", f"## {diagnosis.diagnostic} {diagnosis.mode}".rstrip(), ""]
        if diagnosis.error:
            lines.append(f"**Failed:** {diagnosis.error}")
            continue
        lines += [diagnosis.summary, ""]
        lines += _markdown_table(
            ("finding", "site", "value", "95 % interval", "null", "p", "n", "evidence"),
            [
                (
                    finding.name,
                    _site(finding),
                    number(finding.value),
                    interval(finding.low, finding.high),
                    interval(finding.null_low, finding.null_high),
                    number(finding.p),
                    "" if finding.count is None else str(finding.count),
                    finding.evidence,
                )
                for finding in diagnosis.findings
            ],
        )
        lines += ["", *(f"- {caveat}" for caveat in diagnosis.caveats)]
    lines += ["", "## Time", ""]
    lines += _markdown_table(("phase", "seconds"), [(phase, f"{s:.1f}") for phase, s in report.seconds.items()])
    return "\n".join(lines).rstrip() + "\n"


def _agreement_section(report: Report) -> list[str]:
    """Where the methods place the decision; nothing when none of them speaks of it."""
    panel = agreement(report.diagnoses)
    if panel is None:
        return []
    agrees = {True: "yes", False: "**no**", None: ""}
    rows = [(o.method, _layer(o.layer), _layers(o.low, o.high), o.evidence, agrees[o.agrees]) for o in panel.opinions]
    head = ("method", "layer", "95 % interval", "evidence", "interval holds the median")
    return ["", "## Decision layer: do the methods agree?", "", panel.summary, "", *_markdown_table(head, rows)]


def _layer(value: float | None) -> str:
    return "none found" if value is None else f"{value:g}"


def _layers(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:g} … {high:g}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash when there is none."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} … {number(high)}"


def _title(report: Report) -> str:
    target = report.manifest.models.get("target")
    model = describe(target) if isinstance(target, Mapping) else "no target"
    tokens = f"{report.counts.get('tokens_out', 0):,} tokens written"
    return f"{model} · {report.counts.get('records', 0):,} records · {tokens} · {sum(report.seconds.values()):.0f} s"


def describe(target: Mapping[str, object]) -> str:
    """A model's adapter with what says which model it is; `target` is the manifest's entry."""
    options = target.get("options")
    known = options if isinstance(options, Mapping) else {}
    details = [str(known[key]) for key in ("id", "variant") if known.get(key)]
    return " ".join([str(target.get("model")), *details])


def _measurement_row(m: Measurement) -> tuple[str, ...]:
    name = f"{m.metric} {ARROW[m.better]}".strip()
    return m.dataset, name, m.judge or "", number(m.value), interval(m.low, m.high), str(m.count), str(m.unscored)


def _finding_row(f: Finding) -> tuple[str, ...]:
    name = f"{f.name} ({_site(f)})" if _site(f) else f.name
    return name, number(f.value), interval(f.low, f.high), interval(f.null_low, f.null_high), number(f.p)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _site(finding: Finding) -> str:
    site = finding.site
    if site is None:
        return ""
    layer = "" if site.layer is None else f" {site.layer}"
    return f"{site.kind}{layer}" + (f", {site.position}" if site.position else "")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]
