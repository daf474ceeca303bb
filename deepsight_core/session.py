"""A run from start to end: open, survey, manifest, evaluate while captures ride along, score, diagnose, report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsight_core import frames
from deepsight_core.again import Repetition
from deepsight_core.components import Component, Dataset, Spec
from deepsight_core.config import Plan, RunConfig, Task, configure
from deepsight_core.diagnosis import Diagnoses, Key, examine
from deepsight_core.engine import Engine, Job
from deepsight_core.errors import ConfigError, Interrupted, RunError
from deepsight_core.hub import Hub
from deepsight_core.notebook import inline
from deepsight_core.progress import Progress
from deepsight_core.protocol import Manifest, Measurement, Record, Report
from deepsight_core.provenance import continued, make_manifest, require_same
from deepsight_core.records import Journal, RunDirectory, write_json, write_text
from deepsight_core.report import build_report, markdown
from deepsight_core.scoring import Scoreboard
from deepsight_core.survey import Survey, survey

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped,import-not-found,unused-ignore]

Reference = Spec | Component
MASKED = "**********"
"""What pydantic writes for an option that is a secret."""


class Run:
    """A run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._directory = RunDirectory.existing(path)

    @property
    def report(self) -> Report:
        return self._directory.report()

    @property
    def manifest(self) -> Manifest:
        return self._directory.manifest()

    def records(self) -> Iterator[Record]:
        return self._directory.records()

    @property
    def samples(self) -> DataFrame:
        """Every record with its labels, verdicts and internal coordinates, read anew (see `deepsight_core.frames`)."""
        return frames.samples(self.records(), self.report.diagnoses)

    @property
    def measurements(self) -> DataFrame:
        return frames.measurements(self.report.measurements)

    @property
    def findings(self) -> DataFrame:
        return frames.findings(self.report.diagnoses)

    def _repr_html_(self) -> str:
        return inline(self.path, self.report)


def run(
    target: Reference | None = None,
    evaluate: Sequence[Reference] = (),
    diagnose: Sequence[Reference] = (),
    *,
    roles: Mapping[str, Reference] | None = None,
    hub: Hub | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Evaluate and diagnose in one run; the run file as a function.

    Components are given by name, as a table with `name` and options, or as objects. `settings` are the other entries of
    a run file: name, seed, out, reports, window. Raises DeepSightError.
    """
    bound = {**({"target": target} if target is not None else {}), **(roles or {})}
    config = configure(
        {
            **settings,
            "roles": {role: _role(reference) for role, reference in bound.items()},
            "evaluate": tuple({"dataset": reference} for reference in evaluate),
            "diagnose": tuple({"diagnostic": reference} for reference in diagnose),
        }
    )
    return execute(config, hub or Hub(files=config.plugins), Progress(quiet))


def execute(config: RunConfig, hub: Hub, progress: Progress) -> Run:
    """Start a new run."""
    plan = Plan(config, hub)
    name = config.name or _free_name(config.out, _default_name(plan))
    directory = RunDirectory.create(config.out / name)
    progress.say(f"run {directory.path}")
    with directory.locked():
        return _Session(plan, directory, progress).conduct(name, None)


def resume(path: Path, hub: Hub, progress: Progress, diagnose: Sequence[Mapping[str, Any]] = ()) -> Run:
    """Go on with a run that was broken off, or add diagnoses to a finished one. Nothing that was answered is asked
    again."""
    directory = RunDirectory.existing(path)
    with directory.locked():
        before = directory.manifest()
        if directory.report_file.is_file():  # what is not repeated keeps its time
            seconds = directory.report().seconds
            progress.seconds.update({phase: seconds[phase] for phase in ("evaluate",) if phase in seconds})
        plan = _extended(before, diagnose, hub)
        return _Session(plan, directory, progress).conduct(before.name, before)


class _Session:
    """The run that this process conducts."""

    def __init__(self, plan: Plan, directory: RunDirectory, progress: Progress) -> None:
        self.plan, self.directory, self.progress = plan, directory, progress
        self.evaluated: list[Survey] = []
        """Of the tasks' data sets, in their order."""
        self.looked_at: dict[int, Survey] = {}
        """Of the data that probes bring, by the probe's number."""

    def conduct(self, name: str, before: Manifest | None) -> Run:
        with ExitStack() as opened:
            self._open(opened)
            manifest = make_manifest(name, self.plan, [*self.evaluated, *self.looked_at.values()])
            if before is not None:
                require_same(before, manifest, self.directory.path)
                manifest = continued(before, manifest)
            diagnoses = self._diagnoses()  # before the manifest is written: it may refuse what was asked for
            self.directory.write_manifest(manifest)
            self.plan.hub.load_observers()
            self.plan.hub.notify("deepsight_run_started", manifest=manifest)
            self._evaluate(diagnoses)
            measurements, counts, remarks = self._score()
            again = self._again if self.plan.tasks else None
            found = diagnoses.conclude(self._evidence(diagnoses), self.progress, again) if diagnoses else []
            remarks += diagnoses.remarks if diagnoses else []
        report = build_report(manifest, self.progress.seconds, counts, measurements, found, remarks)
        self._write(report)
        return Run(self.directory.path)

    def _open(self, opened: ExitStack) -> None:
        """Open every component, and read the data for the first time."""
        for model in {id(model): model for model in self.plan.models.values()}.values():
            roles = ", ".join(role for role, bound in self.plan.models.items() if bound is model)
            with self.progress.phase("load", f"loading model {model.name} for {roles}"):
                opened.enter_context(model.opened())
        for task in self.plan.tasks:
            for component in (task.dataset, *task.judges):
                opened.enter_context(component.opened())
        for probe in self.plan.probes:
            for part in (probe.diagnostic, *([probe.data] if probe.data else [])):
                opened.enter_context(part.opened())
        with self.progress.phase("survey", "reading the data"):
            self.evaluated = [self._survey(task.dataset) for task in self.plan.tasks]
            self.looked_at = {n: self._survey(p.data) for n, p in enumerate(self.plan.probes) if p.data is not None}

    def _survey(self, dataset: Dataset) -> Survey:
        return survey(dataset, self.plan.config.seed, dataset.limit)

    def _diagnoses(self) -> Diagnoses | None:
        if not self.plan.probes:
            return None
        examinations = [
            examine(probe, [self.looked_at[number]] if number in self.looked_at else self.evaluated)
            for number, probe in enumerate(self.plan.probes)
        ]
        store = self.directory.path / "activations" if self.plan.config.activations else None
        diagnostics = [probe.diagnostic for probe in self.plan.probes]
        roles = {role for one in diagnostics for role in (*one.roles, *one.optional_roles)}
        others = {role: self.plan.models[role].inside(store) for role in sorted(roles & self.plan.models.keys())}
        return Diagnoses(self.plan.models["target"].inside(store), examinations, others)

    def _evaluate(self, diagnoses: Diagnoses | None) -> None:
        total = sum(one.chosen * one.dataset.epochs for one in self.evaluated)
        done = self.directory.record_count()
        if done >= total:
            return
        hub = self.plan.hub
        with ExitStack() as stack:
            outputs = stack.enter_context(Journal(self.directory.outputs_file))
            records = stack.enter_context(Journal(self.directory.records_file))
            answers = self.directory.answers_from(done)
            if diagnoses:
                stack.enter_context(diagnoses.riding())
            stack.enter_context(self.progress.phase("evaluate", f"evaluating {total - done} samples"))
            stack.enter_context(self.progress.samples(total, done))
            engine = Engine(
                self.plan.models, outputs, records, self.plan.config.seed, self.plan.config.window, answers,
                progress=self.progress.update,
            )  # fmt: skip
            if hub.observes("deepsight_sample_done"):
                engine.done = lambda record: hub.notify("deepsight_sample_done", record=record)
            try:
                engine.evaluate(self._jobs(), skip=done)
            except Interrupted:
                raise Interrupted(
                    f"stopped; every answer so far is safe. Go on with: deepsight resume {self.directory.path}"
                ) from None

    def _jobs(self) -> Iterator[Job]:
        for task, surveyed in zip(self.plan.tasks, self.evaluated, strict=True):
            for epoch in range(task.dataset.epochs):
                for sample in surveyed.samples():
                    yield Job(task.dataset, task.judges, sample, epoch)

    def _score(self) -> tuple[list[Measurement], dict[str, int], list[str]]:
        boards = {task.dataset.name: self._board(task) for task in self.plan.tasks}
        counts = {"records": 0, "unscored": 0, "errors": 0, "tokens_in": 0, "tokens_out": 0}
        with self.progress.phase("score", "scoring" if boards else ""):
            for record in self.directory.records():
                boards[record.dataset].add(record)
                _count(record, counts)
            measurements = [m for board in boards.values() for m in board.measurements()]
        return measurements, counts, [why for board in boards.values() for why in board.failures.values()]

    def _board(self, task: Task) -> Scoreboard:
        first = task.judges[0].name if task.judges else None
        return Scoreboard(task.dataset.name, task.metrics, task.dataset.breakdown, self.plan.config.seed, first)

    def _evidence(self, diagnoses: Diagnoses) -> dict[Key, Record]:
        wanted = diagnoses.wanted()
        records = (record for record in self.directory.records() if record.epoch == 0)
        return {(r.dataset, r.id): r for r in records if (r.dataset, r.id) in wanted}

    def _again(self, diagnosis: str) -> Repetition:
        return Repetition(
            self.plan.models,
            self._jobs,
            self.directory.records,
            self.directory.diagnoses / diagnosis,
            self.plan.config.seed,
            self.plan.config.window,
        )

    def _write(self, report: Report) -> None:
        for number, diagnosis in enumerate(report.diagnoses):
            write_json(self.directory.diagnoses / f"{number}-{diagnosis.diagnostic}.json", diagnosis)
        write_json(self.directory.report_file, report)
        write_text(self.directory.path / "report.md", markdown(report))
        failed = []
        for reporter in self.plan.reporters:
            try:
                self.progress.say(f"· report: {reporter.write(self.directory.path)}")
            except Exception as error:  # one that fails must not cost the others, nor the run
                failed.append(f"reporter {reporter.name!r} failed: {type(error).__name__}: {error}")
        self.plan.hub.notify("deepsight_run_finished", report=report)
        if failed:
            raise RunError("; ".join(failed) + f". The run itself is complete: {self.directory.path}")


def _count(record: Record, counts: dict[str, int]) -> None:
    counts["records"] += 1
    counts["errors"] += record.output.error is not None
    counts["unscored"] += any(judgement.status != "scored" for judgement in record.judgements)
    replies: Iterable[Any] = [exchange.reply for exchange in record.transcript] or [record.output]
    for reply in replies:
        counts["tokens_in"] += getattr(reply, "tokens_in", 0)
        counts["tokens_out"] += getattr(reply, "tokens_out", 0)


def _free_name(out: Path, name: str) -> str:
    """The name, numbered where a run that began in the same second has it."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(one for one in numbered if not (out / one).exists())


def _default_name(plan: Plan) -> str:
    subject = [task.dataset.name for task in plan.tasks] or [probe.diagnostic.name for probe in plan.probes]
    target = plan.models.get("target")
    variant = getattr(target, "variant", "") if target else ""
    words = [datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), *subject[:2], target.name if target else "", str(variant)]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(word for word in words if word))


def _role(reference: Reference) -> Mapping[str, Any]:
    if isinstance(reference, Component | str):
        return {"model": reference}
    if "name" not in reference:
        raise ConfigError(f"a model is given by its name or by a table with a name, not by {dict(reference)!r}")
    return {"model": reference["name"], **{key: value for key, value in reference.items() if key != "name"}}


def _extended(before: Manifest, diagnose: Sequence[Mapping[str, Any]], hub: Hub) -> Plan:
    """The plan of an earlier run, with diagnoses added, less those that it has already."""
    table: dict[str, Any] = dict(before.config)
    if MASKED in json.dumps(table):
        raise ConfigError(f"run {before.name!r} had a key among its options, and keys are not kept; start a new run")
    table["diagnose"] = [*table["diagnose"], *diagnose]
    full: Any = Plan(configure(table), hub).full()["diagnose"]
    table["diagnose"] = [entry for place, entry in enumerate(full) if entry not in full[:place]]
    return Plan(configure(table), hub)
