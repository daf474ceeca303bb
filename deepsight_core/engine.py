"""Drives many protocols at once: collects their requests, streams them through the models, and writes what comes back.

A bounded window of records is alive at a time. Each answer is on disk before the program sees it; records leave in the
order of the data. A program that was cut off is replayed from the answers on disk and asks only what is missing.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice

from deepsight_core.components import Dataset, Judge, Model
from deepsight_core.desk import Desk
from deepsight_core.errors import ConfigError, Interrupted, InvalidPlugin, ModelError, RunMismatch
from deepsight_core.program import Program, request_digest
from deepsight_core.protocol import Generate, Judgement, Likelihoods, Output, Record, Request, Sample
from deepsight_core.records import Answer, Journal
from deepsight_core.secrets import scrub_json

_Arrival = tuple["_Live", Program, int, Output | Likelihoods]
PATIENCE = 0.2  # seconds between looks at the clock and at Ctrl-C while models work


@dataclass(frozen=True)
class Job:
    """One sample to take through its protocol and its judges."""

    dataset: Dataset
    judges: Sequence[Judge]
    sample: Sample
    epoch: int = 0
    record: Record | None = None
    """What the sample's protocol gave earlier: then it is only judged."""


@dataclass
class Tally:
    """What happened so far."""

    records: int = 0
    """Finished, if not yet written: they leave in the order of the data."""
    unscored: int = 0
    errors: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class _Live:
    """A record in the making."""

    n: int
    job: Job
    program: Program
    judges: Iterator[Judge]
    judge: Judge | None = None
    record: Record | None = None
    finished: bool = False


@dataclass
class Engine:
    """Evaluates jobs. `answers` are those of a broken run that belong to records which are not on disk yet."""

    models: Mapping[str, Model]
    outputs: Journal
    records: Journal
    seed: int = 0
    window: int = 512
    answers: Mapping[tuple[int, str], Answer] = field(default_factory=dict)
    done: Callable[[Record], None] = lambda record: None
    progress: Callable[[Tally], None] = lambda tally: None
    tally: Tally = field(default_factory=Tally)

    def evaluate(self, jobs: Iterator[Job], skip: int = 0) -> Tally:
        """Take every job to its record; the first `skip` are on disk already.

        Raises Interrupted on Ctrl-C, ModelError when an adapter breaks, RunMismatch when a replayed program asks
        something else than before. Whatever happens, the answers that arrived are on disk.
        """
        desk = Desk(self.models)
        loop = _Loop(self, desk, islice(jobs, skip, None), skip)
        clean = False
        try:
            loop.run()
            clean = True
        except KeyboardInterrupt:
            raise Interrupted("stopped by Ctrl-C") from None
        finally:
            desk.close(wait=clean)
            if not clean:
                loop.save_arrived()
        return self.tally


class _Loop:
    """The state of one evaluation."""

    def __init__(self, engine: Engine, desk: Desk, jobs: Iterator[Job], first: int) -> None:
        self.engine, self.desk, self.jobs = engine, desk, jobs
        self.live: dict[int, _Live] = {}
        self.waiting: dict[int, tuple[_Live, Program, int, str, Request]] = {}
        self.tickets = count()
        self.next_in = self.next_out = first

    def run(self) -> None:
        while True:
            self._write_finished()
            for job in islice(self.jobs, self.engine.window - len(self.live)):
                self._admit(job)
            if not self.live:
                return
            self.desk.flush()
            if self.waiting:
                self._receive()
            self.engine.outputs.commit()
            self.engine.records.commit()
            self.engine.progress(self.engine.tally)

    def _admit(self, job: Job) -> None:
        n, self.next_in = self.next_in, self.next_in + 1
        program = self._program(job, "elicit", job.dataset.elicit(job.sample))
        self.live[n] = live = _Live(n, job, program, iter(job.judges), record=job.record)
        if job.record is None:
            self._advance(live, program.start)
        else:
            self._next_judge(live)

    def _program(self, job: Job, path: str, generator: object) -> Program:
        if not inspect.isgenerator(generator):
            raise InvalidPlugin(f"{path} of dataset {job.dataset.name!r} must yield its requests and return its result")
        return Program(path, generator, f"{self.engine.seed}/{job.dataset.name}/{job.sample.id}/{job.epoch}")

    def _advance(self, live: _Live, move: Callable[[], list[tuple[str, Request]]]) -> None:
        """Run a live record's program on: replay what was answered before, ask the rest."""
        program = live.program
        asked = self._moved(live, move)
        while asked:
            replayed: list[tuple[int, Output | Likelihoods]] = []
            for place, (key, request) in enumerate(asked):
                reply = self._answered_before(live, key, request)
                if reply is None:
                    self._ask(live, program, place, key, request)
                else:
                    replayed.append((place, reply))
            asked = self._moved(live, partial(program.answers, replayed))
        if program.done and program is live.program:
            self._conclude(live, program)

    def _moved(self, live: _Live, move: Callable[[], list[tuple[str, Request]]]) -> list[tuple[str, Request]]:
        """What the program asks next. It may fail in any way: then its record is unscored, and the rest go on."""
        try:
            return move()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.name}, line {last.lineno}"
            self._fail(live, f"{live.program.path} failed: {type(error).__name__}: {error} ({where})")
            return []

    def _answered_before(self, live: _Live, key: str, request: Request) -> Output | Likelihoods | None:
        answer = self.engine.answers.get((live.n, key))
        if answer is None:
            return None
        if answer.request != request_digest(request):
            raise RunMismatch(
                f"record {live.n} ({live.job.sample.id}), step {key}: the protocol now asks something else than when "
                "the run began. A resumed protocol must be deterministic, and its code unchanged; start a new run"
            )
        return answer.reply

    def _ask(self, live: _Live, program: Program, place: int, key: str, request: Request) -> None:
        if request.role not in self.desk.roles:
            raise ConfigError(
                f"{program.path} of dataset {live.job.dataset.name!r} asks the role {request.role!r}, which is not "
                f"bound; add it under [roles] (bound: {', '.join(self.desk.roles)})"
            )
        ticket = next(self.tickets)
        self.waiting[ticket] = live, program, place, key, request
        self.desk.ask(ticket, request)

    def _receive(self) -> None:
        replies = self.desk.collect(PATIENCE)
        if not replies:
            return
        for live, program, place, reply in self._save(replies):
            self._deliver(live, program, place, reply)

    def save_arrived(self) -> None:
        """Put on disk what had arrived when the run was stopped."""
        with suppress(ModelError):
            self._save(self.desk.collect(0))

    def _save(self, replies: Sequence[tuple[int, Output | Likelihoods]]) -> list[_Arrival]:
        """Write answers down, then hand them out. Raises ModelError, afterwards, for one that nobody asked for."""
        arrived: list[_Arrival] = []
        answers = []
        stray = None
        for ticket, reply in replies:
            if ticket not in self.waiting:
                stray = ticket
                continue
            live, program, place, key, request = self.waiting.pop(ticket)
            # Masked here, so that what a resumed program reads back from disk is what it was told the first time.
            reply = scrubbed(reply)
            arrived.append((live, program, place, reply))
            if reply.error is None:  # a failure is no answer: a run that was broken off asks again
                answers.append(Answer(n=live.n, step=key, request=request_digest(request), reply=reply))
            self._count(reply)
        self.engine.outputs.append(answers)
        if stray is not None:
            raise ModelError(f"a model answered ticket {stray}, which it was not given or had answered already")
        return arrived

    def _count(self, reply: Output | Likelihoods) -> None:
        if isinstance(reply, Output):
            self.engine.tally.tokens_in += reply.tokens_in
            self.engine.tally.tokens_out += reply.tokens_out

    def _deliver(self, live: _Live, program: Program, place: int, reply: Output | Likelihoods) -> None:
        if program.ended:  # by the failure of a parallel request
            return
        if reply.error is not None:
            self._fail(live, reply.error)
        else:
            self._advance(live, partial(program.answer, place, reply))

    def _fail(self, live: _Live, reason: str) -> None:
        """Broken machinery: no verdict on the model, and none of a judge."""
        live.program.close()
        if live.record is None:
            self._recorded(live, Output(stop="error", error=reason), live.program)
        else:
            assert live.judge is not None
            self._judged(live, Judgement(judge=live.judge.name, status="failed", reason=reason))

    def _conclude(self, live: _Live, program: Program) -> None:
        if live.record is None:
            if not isinstance(program.result, Output):
                self._fail(live, f"elicit returned {program.result!r} instead of an Output")
            else:
                self._recorded(live, program.result, program)
        elif not isinstance(program.result, Judgement):
            self._fail(live, f"judge {program.path!r} returned {program.result!r} instead of a Judgement")
        else:
            self._judged(live, program.result)

    def _recorded(self, live: _Live, output: Output, program: Program) -> None:
        job = live.job
        live.record = Record(
            dataset=job.dataset.name,
            sample=job.sample,
            epoch=job.epoch,
            transcript=() if _says_no_more(program, job.sample, output) else tuple(program.exchanges),
            output=output,
        )
        self._next_judge(live)

    def _next_judge(self, live: _Live) -> None:
        record = live.record
        assert record is not None
        live.judge = judge = next(live.judges, None)
        if judge is None:
            self._finish(live, record)
            return
        if reason := unscorable(record.output):
            self._judged(live, Judgement(judge=judge.name, status="failed", reason=reason))
            return
        try:
            verdict = judge.judge(record)
        except Exception as error:  # as above: a judge that fails leaves the record unscored
            self._judged(live, Judgement(judge=judge.name, status="failed", reason=f"{type(error).__name__}: {error}"))
            return
        if inspect.isgenerator(verdict):
            live.program = self._program(live.job, f"judge {judge.name}", verdict)
            self._advance(live, live.program.start)
        elif isinstance(verdict, Judgement):
            self._judged(live, verdict)
        else:
            reason = f"judge {judge.name!r} returned {verdict!r} instead of a Judgement"
            self._judged(live, Judgement(judge=judge.name, status="failed", reason=reason))

    def _judged(self, live: _Live, judgement: Judgement) -> None:
        assert live.record is not None and live.judge is not None
        if judgement.judge != live.judge.name:  # it is found by the name of the judge that was asked
            judgement = judgement.model_copy(update={"judge": live.judge.name})
        judgements = (*live.record.judgements, judgement)
        live.record = live.record.model_copy(update={"judgements": judgements})
        self._next_judge(live)

    def _finish(self, live: _Live, record: Record) -> None:
        live.finished = True
        tally = self.engine.tally
        tally.records += 1
        tally.errors += record.output.error is not None
        tally.unscored += any(judgement.status != "scored" for judgement in record.judgements)

    def _write_finished(self) -> None:
        """Write what is finished, in the order of the data."""
        ready = []
        while (live := self.live.get(self.next_out)) and live.finished:
            assert live.record is not None
            ready.append(live.record)
            del self.live[self.next_out]
            self.next_out += 1
        if ready:
            self.engine.records.append(ready)
        for record in ready:
            self.engine.done(record)


def unscorable(output: Output) -> str | None:
    """Why no judge may look at an output: it is an error, or was withheld. None when it can be judged."""
    if output.error is not None:
        return f"no answer: {output.error}"
    if output.stop == "filter":
        return "the answer was withheld by a content filter"
    return None


def scrubbed(reply: Output | Likelihoods) -> Output | Likelihoods:
    """The reply with secrets of the environment masked."""
    text = reply.model_dump_json()
    masked = scrub_json(text)
    return reply if masked == text else type(reply).model_validate_json(masked)


def _says_no_more(program: Program, sample: Sample, output: Output) -> bool:
    """Whether a transcript would only repeat the sample and its output."""
    if not program.exchanges:
        return True
    first = program.exchanges[0]
    return (
        len(program.exchanges) == 1
        and isinstance(first.request, Generate)
        and first.request.messages == sample.question
        and first.reply == output
    )
