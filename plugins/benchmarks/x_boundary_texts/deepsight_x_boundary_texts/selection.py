"""Which rows the published diagnostic takes of each file, and what it makes of them."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from deepsight_core import Message, assistant, user
from deepsight_core.errors import SourceError
from deepsight_x_boundary_texts.rows import read_rows

Dialogue = tuple[Message, ...]

COMPLIED = "1_full_compliance"
"""The status of OR-Bench rows whose completion answers the prompt; the others refuse."""
ROLES = ("system", "user", "assistant")


def harmful_texts(path: Path, count: int) -> list[Dialogue]:
    """The first rows: a prompt with the harmful answer that was written for it."""
    rows = read_rows(path, ("prompt", "output"))
    return _enough((_exchange(row, "output", where) for where, row in rows), count, path)


def boundary_texts(path: Path, count: int) -> list[Dialogue]:
    """The first rows whose answer complies: a prompt that looks sensitive, and an answer that helps."""
    rows = read_rows(path, ("prompt", "completion", "status"))
    complied = ((where, row) for where, row in rows if _text(row, "status", where) == COMPLIED)
    return _enough((_exchange(row, "completion", where) for where, row in complied), count, path)


def safe_texts(path: Path, count: int) -> list[Dialogue]:
    """The dialogues of two messages at least whose SHA-1 is smallest, in its order: a fixed draw that does not depend
    on the order of the file."""
    dialogues = (_dialogue(row, where) for where, row in read_rows(path, ("messages",)))
    smallest = heapq.nsmallest(count, (one for one in dialogues if len(one) >= 2), key=digest)
    return _enough(iter(smallest), count, path)


def digest(dialogue: Sequence[Message]) -> str:
    """SHA-1, in hexadecimal, of a dialogue's roles and contents as compact JSON with sorted keys."""
    turns = [{"role": message.role, "content": message.text} for message in dialogue]
    text = json.dumps(turns, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _enough(dialogues: Iterator[Dialogue], count: int, path: Path) -> list[Dialogue]:
    taken = list(islice(dialogues, count))
    if len(taken) < count:
        raise SourceError(
            f"{path} holds {len(taken)} usable texts, and per_class asks for {count}; lower per_class, or leave the "
            "class out of `classes`"
        )
    return taken


def _exchange(row: dict[str, Any], answer: str, where: str) -> Dialogue:
    return user(_text(row, "prompt", where)), assistant(_text(row, answer, where))


def _dialogue(row: dict[str, Any], where: str) -> Dialogue:
    turns = row.get("messages", "absent") or []  # the published rule passes over what is empty
    if not isinstance(turns, list):
        raise SourceError(f"{where}: field 'messages' is {str(turns)[:40]!r}, expected a list of messages")
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise SourceError(
                f"{where}: {str(turn)[:40]!r} is no message, which has a role ({', '.join(ROLES)}) and a content"
            )
    return tuple(Message(role=turn["role"], content=turn["content"]) for turn in turns)


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise SourceError(f"{where}: field {field!r} is {str(value)[:40]!r}, expected a text")
    return value
