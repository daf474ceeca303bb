"""The diagnosing half of a run: plans what to see before the evaluation, captures it once for all, and concludes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from deepsight_core.components import Dataset
from deepsight_core.config import Probe
from deepsight_core.errors import ConfigError, DeepSightError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Inside, Want
from deepsight_core.progress import Progress
from deepsight_core.protocol import Diagnosis, Record, Sample
from deepsight_core.survey import Survey, survey

log = logging.getLogger("deepsight.diagnosis")


class Examination:
    """One diagnostic with its evidence and its wants. What goes wrong is kept in `error`, so that the others run."""

    def __init__(self, probe: Probe, samples: tuple[Sample, ...]) -> None:
        self.probe = probe
        self.evidence = Evidence(samples, contrast_by=probe.entry.contrast)
        self.wants: tuple[Want, ...] = ()
        self.error: str | None = None

    def plan(self, inside: Inside) -> None:
        try:
            self.wants = tuple(self.probe.diagnostic.wants(self.evidence, inside.geometry))
        except Exception as error:
            self._failed(error)

    def conclude(self, acts: Acts, inside: Inside) -> Diagnosis:
        try:
            return self.probe.diagnostic.diagnose(self.evidence, acts, inside)
        except Exception as error:
            self._failed(error)
            return self.failure()

    def failure(self) -> Diagnosis:
        return Diagnosis(diagnostic=self.probe.diagnostic.name, error=self.error)

    def _failed(self, error: Exception) -> None:
        """A diagnostic may fail in any way; a bug's traceback goes to the log, its cause to the report."""
        if not isinstance(error, DeepSightError):
            log.error("diagnostic %s failed", self.probe.diagnostic.name, exc_info=error)
        self.error = str(error) if isinstance(error, DeepSightError) else f"{type(error).__name__}: {error}"


class Diagnoses:
    """All examinations of a run."""

    def __init__(self, inside: Inside, examinations: Sequence[Examination]) -> None:
        self.inside, self.examinations = inside, examinations
        for examination in examinations:
            examination.plan(inside)

    def riding(self) -> AbstractContextManager[None]:
        """Lets captures ride on generation, where anything was asked that can."""
        wants = _union(examination.wants for examination in self.examinations)
        prompts = {prompt.id: prompt for examination in self.examinations for prompt in examination.evidence.prompts}
        return self.inside.ride(wants, list(prompts.values())) if wants else nullcontext()

    def conclude(self, records: Mapping[str, Record], progress: Progress) -> list[Diagnosis]:
        """Capture what was not ridden, once for all diagnostics that look at the same samples, and diagnose."""
        shared: dict[tuple[str, ...], Acts] = {}
        found = []
        for examination in self.examinations:
            evidence = examination.evidence
            known = tuple(records[sample.id] for sample in evidence.samples if sample.id in records)
            examination.evidence = evidence = Evidence(evidence.samples, known, evidence.contrast_by)
            if examination.error is None:
                ids = tuple(sample.id for sample in evidence.samples)
                try:
                    if ids not in shared:
                        with progress.phase("capture", "capturing activations"):
                            shared[ids] = self.inside.run(self._wants_on(ids), evidence.prompts)
                    with progress.phase("diagnose", f"diagnosing: {examination.probe.diagnostic.name}"):
                        found.append(examination.conclude(shared[ids], self.inside))
                    continue
                except DeepSightError as error:  # the capture itself: too large, a text beyond the context
                    examination.error = str(error)
            found.append(examination.failure())
        return found

    def _wants_on(self, ids: tuple[str, ...]) -> tuple[Want, ...]:
        return _union(
            examination.wants
            for examination in self.examinations
            if tuple(sample.id for sample in examination.evidence.samples) == ids
        )


def examine(probe: Probe, surveys: Mapping[str, tuple[Dataset, Survey]]) -> Examination:
    """An examination of a probe's own data, or of the evaluated data sets that it names."""
    names = [probe.data.name] if probe.data else list(probe.entry.datasets or surveys)
    samples: list[Sample] = []
    home: dict[str, str] = {}
    for name in names:
        dataset, surveyed = surveys[name]
        limit = probe.entry.limit
        if limit is not None and surveyed.chosen > limit:
            surveyed = survey(dataset, surveyed.seed, limit)
        for sample in surveyed.select(dataset):
            if home.setdefault(sample.id, name) != name:
                raise ConfigError(
                    f"sample id {sample.id!r} occurs in {home[sample.id]!r} and in {name!r}; diagnose them apart "
                    "with datasets = [...]"
                )
            samples.append(sample)
    return Examination(probe, tuple(samples))


def _union(groups: Iterable[Sequence[Want]]) -> tuple[Want, ...]:
    return tuple(dict.fromkeys(want for group in groups for want in group))
