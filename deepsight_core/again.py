"""Ask samples of the run again while the model is edited, and judge the answers as before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from deepsight_core.components import Model
from deepsight_core.engine import Engine, Job
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Repeat
from deepsight_core.protocol import Record
from deepsight_core.records import Journal, read_values


class Repetition:
    """Implements evidence.Again for one diagnostic of a run; its files go to `folder`, one sub-folder a repetition.

    Judges are asked after the edit is undone: a judge on the same weights as the target would otherwise be edited too.
    Other roles that a protocol asks share the edit where they share the weights.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        jobs: Callable[[], Iterator[Job]],
        records: Callable[[], Iterator[Record]],
        folder: Path,
        seed: int,
        window: int,
    ) -> None:
        self.models, self.jobs, self.records = models, jobs, records
        self.folder, self.seed, self.window = folder, seed, window

    def __call__(self, name: str, edited: AbstractContextManager[None], ids: Sequence[str] | None = None) -> Repeat:
        chosen = None if ids is None else set(ids)
        before = [r for r in self.records() if r.epoch == 0 and (chosen is None or r.id in chosen)]
        wanted = {(record.dataset, record.id) for record in before}
        if not before:
            raise DiagnosticError("none of these samples was evaluated in this run, so none can be asked again")
        jobs = [job for job in self.jobs() if job.epoch == 0 and (job.dataset.name, job.sample.id) in wanted]
        folder = self.folder / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        folder.mkdir(parents=True, exist_ok=True)
        with edited:
            unjudged = [replace(job, judges=()) for job in jobs]
            asked = self._run(folder / "outputs.jsonl", folder / "unjudged.jsonl", unjudged)
        judged = [replace(job, record=record) for job, record in zip(jobs, asked, strict=True)]
        after = self._run(folder / "verdicts.jsonl", folder / "records.jsonl", judged)
        (folder / "unjudged.jsonl").unlink()
        return Repeat(tuple(before), tuple(after))

    def _run(self, outputs: Path, records: Path, jobs: Sequence[Job]) -> list[Record]:
        for path in (outputs, records):
            path.unlink(missing_ok=True)  # of a diagnosis that was broken off, perhaps under another edit
        with Journal(outputs) as answers, Journal(records) as finished:
            Engine(self.models, answers, finished, self.seed, self.window).evaluate(iter(jobs))
        return list(read_values(records, Record))
