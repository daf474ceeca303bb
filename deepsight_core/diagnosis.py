"""The diagnosing half of a run: plans what to see before the evaluation, captures it once for all, and concludes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from deepsight_core.config import Probe
from deepsight_core.errors import ConfigError, DeepSightError, DiagnosticError
from deepsight_core.evidence import Again, Evidence
from deepsight_core.inside import Acts, Inside, Prompt, Want
from deepsight_core.progress import Progress
from deepsight_core.protocol import Diagnosis, Record, Sample
from deepsight_core.survey import Survey, survey

Key = tuple[str, str]
"""Data set and sample id: a record of the first epoch."""

log = logging.getLogger("deepsight.diagnosis")


class Examination:
    """One diagnostic with its evidence and its wants. What goes wrong is kept in `error`, so that the others run."""

    def __init__(self, probe: Probe, homes: Mapping[str, str], samples: tuple[Sample, ...]) -> None:
        self.probe = probe
        self.homes = homes
        """Sample id to the data set that it was evaluated in; empty for a probe's own data."""
        self.evidence = Evidence(samples, contrast_by=probe.entry.contrast)
        self.wants: tuple[Want, ...] = ()
        self.error: str | None = None
        self.unanswered = 0
        """Samples that were left out because they have no answer to be read."""

    def plan(self, inside: Inside, others: Mapping[str, Inside]) -> None:
        self.evidence = replace(self.evidence, others=others)
        try:
            self.wants = tuple(self.probe.diagnostic.wants(self.evidence, inside.geometry))
        except Exception as error:
            self.fail(error)

    def see(self, records: Mapping[Key, Record], again: Again | None) -> None:
        """Add the records, and the means to ask again, once they are there."""
        samples = self.evidence.samples
        keys = ((self.homes.get(sample.id, ""), sample.id) for sample in samples)
        known = tuple(records[key] for key in keys if key in records)
        self.evidence = replace(self.evidence, records=known, again=again)
        if any(want.text == "exchange" for want in self.wants):
            self._leave_out_unanswered()

    def _leave_out_unanswered(self) -> None:
        """One request that failed, or an empty answer, must not cost the others their diagnosis."""
        answered = {prompt.id for prompt in self.evidence.prompts if (prompt.answer or "").strip()}
        samples = tuple(sample for sample in self.evidence.samples if sample.id in answered)
        if not samples:
            what = "none of the samples has an answer, and it reads answers: evaluate them, or bring data with answers"
            self.fail(DiagnosticError(f"{self.probe.diagnostic.name}: {what}"))
        self.unanswered = len(self.evidence.samples) - len(samples)
        records = tuple(record for record in self.evidence.records if record.id in answered)
        self.evidence = replace(self.evidence, samples=samples, records=records)

    def conclude(self, acts: Acts, inside: Inside) -> Diagnosis:
        try:
            diagnosis = self.probe.diagnostic.diagnose(self.evidence, acts, inside)
        except Exception as error:
            self.fail(error)
            return self.failure()
        if not self.unanswered:
            return diagnosis
        caveat = f"{self.unanswered} samples have no answer to be read (failed or empty) and were left out."
        return diagnosis.model_copy(update={"caveats": (*diagnosis.caveats, caveat)})

    def failure(self) -> Diagnosis:
        return Diagnosis(diagnostic=self.probe.diagnostic.name, error=self.error)

    def fail(self, error: Exception) -> None:
        """A diagnostic may fail in any way; a bug's traceback goes to the log, its cause to the report."""
        if not isinstance(error, DeepSightError):
            log.error("diagnostic %s failed", self.probe.diagnostic.name, exc_info=error)
        self.error = str(error) if isinstance(error, DeepSightError) else f"{type(error).__name__}: {error}"


class Diagnoses:
    """All examinations of a run."""

    def __init__(
        self, inside: Inside, examinations: Sequence[Examination], others: Mapping[str, Inside] | None = None
    ) -> None:
        """`others`: the models, by role, that diagnostics look into beside the target."""
        self.inside, self.examinations = inside, examinations
        self.remarks: list[str] = []
        """How the activations came about and how faithful they are, once captured."""
        for examination in examinations:
            diagnostic = examination.probe.diagnostic
            roles = (*diagnostic.roles, *diagnostic.optional_roles)
            examination.plan(inside, {role: other for role, other in (others or {}).items() if role in roles})

    @contextmanager
    def riding(self) -> Iterator[None]:
        """Lets captures ride on generation, where anything was asked that can."""
        wants = _union(self.examinations)
        prompts = {prompt.id: prompt for examination in self.examinations for prompt in examination.evidence.prompts}
        with ExitStack() as stack:
            if wants:
                # A want that cannot be met must not cost the evaluation; the capture will say whose it is.
                with suppress(DeepSightError):
                    stack.enter_context(self.inside.ride(wants, list(prompts.values())))
            yield

    def wanted(self) -> set[Key]:
        """The records that some diagnostic looks at."""
        return {(home, id) for examination in self.examinations for id, home in examination.homes.items()}

    def conclude(
        self, records: Mapping[Key, Record], progress: Progress, again: Callable[[str], Again] | None = None
    ) -> list[Diagnosis]:
        """Capture what was not ridden, once for all diagnostics that look at the same samples, and diagnose. `again`
        gives each diagnostic, by its number and name, the means to ask samples again."""
        together: list[tuple[tuple[Prompt, ...], list[Examination]]] = []
        for number, examination in enumerate(self.examinations):
            name = f"{number}-{examination.probe.diagnostic.name}"
            examination.see(records, again(name) if again else None)
            if examination.error is None:
                prompts = examination.evidence.prompts
                group = next((group for same, group in together if same == prompts), None)
                together.append((prompts, [examination])) if group is None else group.append(examination)
        acts: dict[int, Acts] = {}
        for _, group in together:
            with progress.phase("capture", "capturing activations"):
                acts.update(self._capture(group))
        found = []
        for examination in self.examinations:
            if id(examination) in acts:
                with progress.phase("diagnose", f"diagnosing: {examination.probe.diagnostic.name}"):
                    found.append(examination.conclude(acts[id(examination)], self.inside))
            else:
                found.append(examination.failure())
        return found

    def _capture(self, group: Sequence[Examination]) -> dict[int, Acts]:
        """One pass for all; when it fails, one for each, so that only the diagnostic at fault goes without."""
        prompts = group[0].evidence.prompts
        try:
            acts = self.inside.run(_union(group), prompts)
        except Exception as error:  # a want out of range, a text beyond the context, no memory
            if len(group) == 1:
                group[0].fail(error)
                return {}
            return {key: found for one in group for key, found in self._capture([one]).items()}
        self.remarks.append(_remark(acts))
        return {id(examination): acts for examination in group}


def examine(probe: Probe, surveys: Sequence[Survey]) -> Examination:
    """An examination of a probe's own data, or of the evaluated data sets that it names."""
    chosen = [one for one in surveys if probe.data or probe.entry.datasets is None or _named(probe, one)]
    samples: list[Sample] = []
    homes: dict[str, str] = {}
    for one in chosen:
        name, limit = one.dataset.name, probe.entry.limit
        narrowed = survey(one.dataset, one.seed, limit) if limit is not None and one.chosen > limit else one
        for sample in narrowed.samples():
            if homes.setdefault(sample.id, name) != name:
                raise ConfigError(
                    f"sample id {sample.id!r} occurs in {homes[sample.id]!r} and in {name!r}; diagnose them apart "
                    "with datasets = [...]"
                )
            samples.append(sample)
    return Examination(probe, {} if probe.data else homes, tuple(samples))


def _named(probe: Probe, one: Survey) -> bool:
    return one.dataset.name in (probe.entry.datasets or ())


def _remark(acts: Acts) -> str:
    origins = ", ".join(f"{count} {origin}" for origin, count in sorted(acts.captured.items()) if count)
    origin = f" ({origins})" if origins else ""
    if acts.error is None:
        return f"activations of {len(acts.ids)} prompts{origin}"
    return (
        f"activations of {len(acts.ids)} prompts{origin}; two of them recomputed alone, without padding, differ by at "
        f"most {acts.error:.1e} (relative)"
    )


def _union(examinations: Iterable[Examination]) -> tuple[Want, ...]:
    return tuple(dict.fromkeys(want for examination in examinations for want in examination.wants))
