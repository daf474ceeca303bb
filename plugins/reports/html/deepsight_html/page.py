"""What the page shows, in the order in which it shows it: a report and its records turned into text and figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from deepsight_core.display import finite
from deepsight_core.figures import Heatmap, Scatter, Trajectory
from deepsight_core.protocol import Diagnosis, Finding, Measurement, Record, Report
from deepsight_html.agreement import Panel, panel
from deepsight_html.answers import Answer, answers
from deepsight_html.figures import Strip, Swarm, strip, strip_scale
from deepsight_html.heatmap import Map, heatmap
from deepsight_html.profiles import Profile, profiles, site_name, swarms
from deepsight_html.samples import Pointer, Samples, Standing, Tally, pointers, read
from deepsight_html.scales import Tick, ticks
from deepsight_html.scatter import Plane, plane
from deepsight_html.text import date, duration, flat, number, p_value, plain, span
from deepsight_html.trajectory import Track, track

FINDING_ROWS = 1000
"""Findings of one diagnosis that are listed; a study of single neurons may have more than a page can hold."""


@dataclass(frozen=True)
class MeasurementRow:
    metric: str
    group: str
    judge: str
    value: str
    interval: str
    method: str
    bounds: str
    count: int
    clusters: int
    unscored: int
    better: str
    strip: Strip


@dataclass(frozen=True)
class Block:
    """Rows that share an axis."""

    axis: tuple[Tick, ...]
    rows: tuple[MeasurementRow, ...]


@dataclass(frozen=True)
class DatasetView:
    name: str
    extent: str
    """'40 of 450 samples' where a limit was set, '450 samples' where all were used."""
    limited: bool
    headline: tuple[Block, ...]
    groups: tuple[Block, ...]
    tally: Tally | None


@dataclass(frozen=True)
class FindingRow:
    name: str
    site: str
    value: str
    interval: str
    null: str
    p: str
    count: str
    evidence: str
    summary: str


Drawing = Plane | Track | Map


@dataclass(frozen=True)
class DiagnosisView:
    title: str
    mode: str
    summary: str
    error: str
    headline: tuple[FindingRow, ...]
    findings: tuple[FindingRow, ...]
    left_out: int
    profiles: tuple[Profile, ...]
    swarms: tuple[Swarm, ...]
    figures: tuple[Drawing, ...]
    caveats: tuple[str, ...]
    artifacts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    title: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    answers: tuple[Answer, ...]
    agreement: Panel | None
    datasets: tuple[DatasetView, ...]
    diagnoses: tuple[DiagnosisView, ...]
    samples: Samples
    headers: tuple[tuple[str, str], ...]
    """Diagnostic and name of each column of internal scores."""
    provenance: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def build(report: Report, records: Iterable[Record], max_samples: int) -> Page:
    """Reads the records once, from first to last."""
    samples = read(records, report.diagnoses, max_samples)
    known = pointers(samples)
    veiled = any(standing.harmful for standing in samples.standings)  # then so are texts that belong to no sample
    return Page(
        title=report.manifest.name,
        facts=tuple(_facts(report)),
        notes=report.notes,
        answers=answers(report),
        agreement=panel(report.diagnoses),
        datasets=tuple(_datasets(report, samples)),
        diagnoses=tuple(_diagnosis(made, samples.standings, known, veiled) for made in report.diagnoses),
        samples=samples,
        headers=tuple((report.diagnoses[place].diagnostic, name) for place, name in samples.columns),
        provenance=tuple(_provenance(report)),
    )


# --- Header and provenance --------------------------------------------------------------------


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    manifest, counts = report.manifest, report.counts
    for role, model in manifest.models.items():
        yield role.capitalize(), _model(model)
    if manifest.data:
        yield "Data", "; ".join(f"{entry['dataset']}: {_extent(entry)}" for entry in manifest.data)
    failed = ", ".join(f"{key} {number(counts[key])}" for key in ("unscored", "errors") if counts.get(key))
    yield "Records", f"{number(counts.get('records', 0))}, {failed or 'all scored'}"
    yield "Finished", f"{date(report.finished)}, after {duration(sum(report.seconds.values()))}"
    yield "Seed", str(manifest.seed)
    yield "DeepSight", manifest.deepsight


def _model(model: JsonValue) -> str:
    """The adapter, and those of its options that say which model it is."""
    if not isinstance(model, Mapping):
        return plain(model)
    options = model.get("options")
    known = options if isinstance(options, Mapping) else {}
    named = [model.get("model"), *(known.get(key) for key in ("id", "path", "variant", "revision"))]
    return ", ".join(plain(part) for part in named if part)


def _provenance(report: Report) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    manifest = report.manifest
    yield (
        "Run",
        (
            ("created", manifest.created),
            ("finished", report.finished),
            ("protocol", str(manifest.protocol)),
            *((f"seconds.{phase}", number(float(seconds))) for phase, seconds in report.seconds.items()),
            *((f"counts.{name}", number(count)) for name, count in report.counts.items()),
        ),
    )
    yield "Models", tuple(flat(manifest.models))
    yield "Data", tuple(flat(manifest.data))
    yield "Plugins", tuple(flat(manifest.components))
    yield "Environment", tuple(flat(manifest.environment))
    yield "Configuration", tuple(flat(manifest.config))


# --- Measurements -----------------------------------------------------------------------------


def _datasets(report: Report, samples: Samples) -> Iterator[DatasetView]:
    described = {entry["dataset"]: entry for entry in report.manifest.data}
    measured = [measurement.dataset for measurement in report.measurements]
    for name in dict.fromkeys([*measured, *samples.tallies]):
        own = [measurement for measurement in report.measurements if measurement.dataset == name]
        entry = described.get(name)
        yield DatasetView(
            name=name,
            extent=_extent(entry) if entry else "",
            limited=entry is not None and entry["used"] != entry["total"],
            headline=_blocks(own, [measurement for measurement in own if measurement.group == "all"]),
            groups=_blocks(own, [measurement for measurement in own if measurement.group != "all"]),
            tally=samples.tallies.get(name),
        )


def _extent(entry: Mapping[str, JsonValue]) -> str:
    used, total = plain(entry["used"]), plain(entry["total"])
    return f"{total} samples" if used == total else f"{used} of {total} samples"


def _blocks(everything: Sequence[Measurement], shown: Sequence[Measurement]) -> tuple[Block, ...]:
    """Rows by axis. Metrics that stay within 0 and 1 share one; any other has its own, for its groups as well."""
    wide = {one.metric for one in everything if any(not 0 <= value <= 1 for value in _values(one))}
    axes: dict[str, list[Measurement]] = {}
    for measurement in shown:
        axes.setdefault(measurement.metric if measurement.metric in wide else "", []).append(measurement)
    blocks = []
    for axis, members in axes.items():
        of_axis = (one for one in everything if (one.metric if one.metric in wide else "") == axis)
        scale = strip_scale(value for one in of_axis for value in _values(one))
        rows = tuple(_row(one, strip(scale, one.value, (one.low, one.high), (one.worst, one.best))) for one in members)
        blocks.append(Block(ticks(scale), rows))
    return tuple(blocks)


def _values(measurement: Measurement) -> list[float]:
    ends = (measurement.value, measurement.low, measurement.high, measurement.worst, measurement.best)
    return [value for end in ends if (value := finite(end)) is not None]


def _row(measurement: Measurement, drawn: Strip) -> MeasurementRow:
    bounds = sorted(value for value in (measurement.worst, measurement.best) if value is not None)
    return MeasurementRow(
        metric=measurement.metric,
        group=measurement.group,
        judge=measurement.judge or "",
        value=f"{number(measurement.value)} {measurement.unit}".strip(),
        interval=span(measurement.low, measurement.high),
        method="" if measurement.method == "none" else measurement.method,
        bounds=span(*bounds) if len(bounds) == 2 else span(None, None),
        count=measurement.count,
        clusters=measurement.clusters,
        unscored=measurement.unscored,
        better=measurement.better,
        strip=drawn,
    )


# --- Diagnoses --------------------------------------------------------------------------------


def _diagnosis(
    made: Diagnosis, standings: Sequence[Standing], known: Mapping[str, Pointer], veiled: bool
) -> DiagnosisView:
    return DiagnosisView(
        title=made.diagnostic,
        mode=made.mode,
        summary=made.summary,
        error=made.error or "",
        headline=tuple(_finding(finding) for finding in made.findings if finding.headline),
        findings=tuple(_finding(finding) for finding in made.findings[:FINDING_ROWS]),
        left_out=max(0, len(made.findings) - FINDING_ROWS),
        profiles=profiles(made.findings),
        swarms=swarms(made, standings),
        figures=tuple(_drawing(figure, known, veiled) for figure in made.figures),
        caveats=made.caveats,
        artifacts=tuple(made.artifacts.items()),
    )


def _drawing(figure: Scatter | Trajectory | Heatmap, known: Mapping[str, Pointer], veiled: bool) -> Drawing:
    if isinstance(figure, Scatter):
        return plane(figure, known)
    return track(figure, known.get(figure.id), veiled) if isinstance(figure, Trajectory) else heatmap(figure)


def _finding(finding: Finding) -> FindingRow:
    return FindingRow(
        name=finding.name,
        site=site_name(finding.site),
        value=f"{number(finding.value)} {finding.unit}".strip(),
        interval=span(finding.low, finding.high),
        null=span(finding.null_low, finding.null_high),
        p=p_value(finding.p),
        count=number(finding.count),
        evidence=finding.evidence,
        summary=finding.summary,
    )
