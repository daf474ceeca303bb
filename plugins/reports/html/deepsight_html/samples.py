"""The records of a run, read once: tallies over all of them, and rows for those that the page has room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deepsight_core.display import finite
from deepsight_core.protocol import Diagnosis, Image, Judgement, Message, Output, Record, Reply, Text
from deepsight_html.text import number, plain

TEXT_LIMIT = 4000
"""Characters of one text that are shown; the rest stays in records.jsonl."""
PREVIEW = 110

Column = tuple[int, str]
"""Which diagnosis, and the name of its internal score: one diagnostic may run twice, in two modes."""


@dataclass(frozen=True)
class Passage:
    """A text that somebody said."""

    speaker: str
    text: str
    more: int = 0
    """Characters that are not shown."""


@dataclass(frozen=True)
class Chip:
    """A verdict in a few words."""

    judge: str
    label: str
    state: str
    """scored, unparsed, failed, or none where no judge spoke."""
    score: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    text: str
    key: str = ""
    """What the script sorts by: a plain number, or empty."""


@dataclass(frozen=True)
class Row:
    id: str
    epoch: int
    dataset: str
    labels: tuple[tuple[str, str], ...]
    chips: tuple[Chip, ...]
    outcomes: tuple[str, ...]
    """What the outcome filter finds this row by."""
    scores: tuple[Cell, ...]
    harmful: bool
    preview: str
    prompt: tuple[Passage, ...]
    answer: tuple[Passage, ...]
    exchanges: tuple[Passage, ...]
    error: str
    remark: str
    """An answer that was cut or filtered."""


@dataclass(frozen=True)
class Standing:
    """How one sample was judged: what internal scores are compared with."""

    id: str
    harmful: bool | None
    verdict: str


@dataclass(frozen=True)
class Pointer:
    """What a figure may say of a sample, and where the page shows it."""

    verdict: str
    preview: str = ""
    """How its prompt begins; empty where the prompt is hidden or not shown."""
    row: int | None = None
    harmful: bool = False
    """Whether it is labelled harmful."""


@dataclass
class Tally:
    """Counts over all records of one data set."""

    records: int = 0
    verdicts: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    """By judge: how often each (state, label) was given."""
    remarks: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Samples:
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    outcomes: tuple[str, ...]
    datasets: tuple[str, ...]
    left_out: Mapping[str, int]
    tallies: Mapping[str, Tally]
    standings: tuple[Standing, ...]


def read(records: Iterable[Record], diagnoses: Sequence[Diagnosis], most: int) -> Samples:
    """Stream the records; at most `most` of each data set are held at a time, and `most` in all become rows."""
    kept: dict[str, list[Record]] = {}
    tallies: dict[str, Tally] = {}
    standings: list[Standing] = []
    for record in records:
        tally = tallies.setdefault(record.dataset, Tally())
        _count(tally, record)
        if record.epoch == 0:
            standings.append(_standing(record))
        held = kept.setdefault(record.dataset, [])
        if len(held) < most:
            held.append(record)
    room = shares({name: tally.records for name, tally in tallies.items()}, most)
    columns = tuple(
        dict.fromkeys(
            (place, name) for place, made in enumerate(diagnoses) for scores in made.table.values() for name in scores
        )
    )
    rows = tuple(_row(record, columns, diagnoses) for name, held in kept.items() for record in held[: room[name]])
    return Samples(
        rows=rows,
        columns=columns,
        outcomes=tuple(sorted({outcome for row in rows for outcome in row.outcomes})),
        datasets=tuple(tallies),
        left_out={name: left for name, tally in tallies.items() if (left := tally.records - room[name])},
        tallies=tallies,
        standings=tuple(standings),
    )


def pointers(samples: Samples) -> dict[str, Pointer]:
    """By sample id. Of two samples that share an id, the first one."""
    found: dict[str, Pointer] = {}
    for place, row in enumerate(samples.rows):
        if row.epoch == 0:
            found.setdefault(row.id, Pointer("", row.preview, place))
    standings: dict[str, Standing] = {}
    for standing in samples.standings:
        standings.setdefault(standing.id, standing)
    return {
        id: replace(found.get(id, Pointer("")), verdict=standing.verdict, harmful=bool(standing.harmful))
        for id, standing in standings.items()
    }


def shares(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """`most` places divided evenly; what a small data set does not need goes to the larger ones."""
    room: dict[str, int] = {}
    for place, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        room[name] = min(sizes[name], most // (len(sizes) - place))
        most -= room[name]
    return room


def _count(tally: Tally, record: Record) -> None:
    tally.records += 1
    for chip in _chips(record):
        tally.verdicts.setdefault(chip.judge, Counter())[chip.state, chip.label] += 1
    if remark := _remark(record.output):
        tally.remarks[remark] += 1


def _standing(record: Record) -> Standing:
    known = record.sample.labels.get("harmful")
    first = record.judgement()
    verdict = first.label if first and first.status == "scored" and first.label else "unscored"
    return Standing(record.id, None if known is None else bool(known), verdict)


def _row(record: Record, columns: Sequence[Column], diagnoses: Sequence[Diagnosis]) -> Row:
    chips = _chips(record)
    harmful = bool(record.sample.labels.get("harmful"))
    scores = (diagnoses[place].table.get(record.id, {}).get(name) for place, name in columns)
    return Row(
        id=record.id,
        epoch=record.epoch,
        dataset=record.dataset,
        labels=tuple((name, plain(value)) for name, value in record.sample.labels.items()),
        chips=chips,
        outcomes=tuple(dict.fromkeys(_outcomes(chips, record.output))),
        scores=tuple(_cell(score) for score in scores),
        harmful=harmful,
        preview="" if harmful else _preview(record),
        prompt=tuple(_passage(message.role, message) for message in record.sample.messages),
        answer=_answer(record.output),
        exchanges=tuple(
            passage
            for exchange in record.transcript
            for passage in (
                _passage(f"to {exchange.request.role}", exchange.request.messages[-1]),
                _reply(exchange.request.role, exchange.reply),
            )
        ),
        error=record.output.error or "",
        remark=_remark(record.output),
    )


def _chips(record: Record) -> tuple[Chip, ...]:
    if not record.judgements:
        return (Chip(judge="", label="no verdict", state="none"),)
    return tuple(_chip(judgement) for judgement in record.judgements)


def _chip(judgement: Judgement) -> Chip:
    scored = judgement.status == "scored"
    label = judgement.label or ("scored" if scored else judgement.status)
    score = "" if finite(judgement.score) is None else f"{judgement.score:.4g}"
    reason = "; ".join(filter(None, (", ".join(judgement.categories), judgement.reason)))
    return Chip(judgement.judge, label if scored else judgement.status, judgement.status, score, _cut(reason).text)


def _outcomes(chips: Sequence[Chip], output: Output) -> list[str]:
    labels = [chip.label for chip in chips]
    if any(chip.state != "scored" for chip in chips):
        labels.append("unscored")
    if output.error:
        labels.append("error")
    return labels


def _remark(output: Output) -> str:
    if output.error or output.stop == "error":
        return "error instead of an answer"
    return {"length": "cut at the token limit", "filter": "withheld by a filter"}.get(output.stop, "")


def _cell(value: float | str | None) -> Cell:
    if isinstance(value, str):
        return Cell(value)
    value = finite(value)
    return Cell(number(value), "" if value is None else repr(value))


def _preview(record: Record) -> str:
    text = " ".join(message.text for message in record.sample.messages if message.role == "user")
    text = " ".join(text.split())
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW].rstrip()}…"


def _answer(output: Output) -> tuple[Passage, ...]:
    thought = (_cut(output.reasoning, "reasoning"),) if output.reasoning else ()
    return (*thought, _cut(output.text, "answer"))


def _passage(speaker: str, message: Message) -> Passage:
    if isinstance(message.content, str):
        return _cut(message.content, speaker)
    parts = (
        part.text
        if isinstance(part, Text)
        else f"[{'image' if isinstance(part, Image) else 'audio'}: {part.uri[:120]}]"
        for part in message.content
    )
    return _cut("\n".join(parts), speaker)


def _reply(role: str, reply: Reply) -> Passage:
    if reply.error:
        return _cut(reply.error, f"{role}: error")
    if isinstance(reply, Output):
        return _cut(reply.text, role)
    return Passage(f"{role}: log-likelihoods", ", ".join(number(value) for value in reply.values))


def _cut(text: str, speaker: str = "") -> Passage:
    return Passage(speaker, text[:TEXT_LIMIT], max(0, len(text) - TEXT_LIMIT))
