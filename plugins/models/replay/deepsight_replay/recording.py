"""Read recorded answers: a run's records, or a table with a prompt and an answer in each row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonlines
from pydantic import ValidationError

from deepsight_core import Generate, Message, Output, Record
from deepsight_core.errors import ConfigError

Key = str | tuple[tuple[str, str], ...]
"""A conversation as (role, text) pairs; or the text of a last user message, where only that was recorded."""

PROMPTS = ("prompt", "messages")
ANSWERS = ("response", "completion", "answer")


def conversation(messages: Sequence[Message]) -> Key:
    return tuple((message.role, message.text) for message in messages)


def read(path: Path, prompt_field: str | None, answer_field: str | None) -> dict[Key, Output]:
    """All answers of a file by what was asked. Failed requests are no answers.

    Raises ConfigError for a file that is missing, cannot be understood, or gives two answers to one prompt.
    """
    answers: dict[Key, Output] = {}
    origin: dict[Key, int] = {}
    for number, row in enumerate(_rows(path), 1):
        for key, output in _exchanges(f"{path}, row {number}", row, prompt_field, answer_field):
            known = answers.setdefault(key, output)
            if known.text != output.text:
                raise ConfigError(
                    f"{path} gives two answers to one prompt, in rows {origin[key]} and {number}: "
                    "keep the one that is to be replayed (of several epochs, one)"
                )
            origin.setdefault(key, number)
    if not answers:
        raise ConfigError(f"{path} holds no answers")
    return answers


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file)
        else:
            with jsonlines.open(path) as reader:
                yield from reader.iter(type=dict, skip_empty=True)
    except FileNotFoundError as error:
        raise ConfigError(f"no recorded answers at {path}; correct the option path") from error
    except (csv.Error, jsonlines.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is neither a CSV file (named .csv) nor JSON lines: {error}") from error


def _exchanges(
    where: str, row: Mapping[str, Any], prompt_field: str | None, answer_field: str | None
) -> Iterator[tuple[Key, Output]]:
    if "sample" in row and "output" in row:
        record = _record(where, row)
        for exchange in record.transcript:
            request, reply = exchange.request, exchange.reply
            if isinstance(request, Generate) and isinstance(reply, Output) and not reply.error:
                yield conversation(request.messages), reply
        if not (record.transcript or record.output.error):
            yield conversation(record.sample.messages), record.output
        return
    prompt = row[_field(where, row, prompt_field, PROMPTS, "prompt_field")]
    answer = row[_field(where, row, answer_field, ANSWERS, "answer_field")]
    if answer is None:
        return
    if not isinstance(answer, str):
        raise ConfigError(f"{where}: the answer is no text, but {type(answer).__name__}")
    yield _asked(where, prompt), Output(text=answer)


def _asked(where: str, prompt: object) -> Key:
    if isinstance(prompt, str):
        return prompt
    try:
        assert isinstance(prompt, list)
        return conversation([Message.model_validate(message) for message in prompt])
    except (AssertionError, ValidationError) as error:
        raise ConfigError(f"{where}: the prompt is neither text nor a list of messages") from error


def _record(where: str, row: Mapping[str, Any]) -> Record:
    try:
        return Record.model_validate(row)
    except ValidationError as error:
        raise ConfigError(f"{where} looks like a run's record, but is none: {error}") from error


def _field(where: str, row: Mapping[str, Any], chosen: str | None, usual: Sequence[str], option: str) -> str:
    """The column to read: the chosen one, or the only one with a usual name."""
    found = [name for name in ([chosen] if chosen else usual) if name in row]
    if len(found) != 1:
        looked = repr(chosen) if chosen else " or ".join(usual)
        raise ConfigError(
            f"{where}: {'no' if not found else 'more than one'} column {looked} among {', '.join(map(str, row))}; "
            f"name it with the option {option}"
        )
    return found[0]
