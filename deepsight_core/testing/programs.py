"""Play a protocol by hand: scripted answers in, requests and result out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from deepsight_core.program import Program
from deepsight_core.protocol import Likelihoods, Output, Request

Answerer = Callable[[Request], Output | Likelihoods | str]


@dataclass(frozen=True)
class Play:
    """How a protocol went."""

    requests: tuple[Request, ...]
    """In the order in which they were asked."""
    result: Any
    """What the program returned."""


def play(program: Generator[Any, Any, Any], answers: Answerer | Iterable[Output | Likelihoods | str]) -> Play:
    """Drive a protocol or a judge with scripted answers: a function of the request, or one answer per request.

    Text stands for an Output. Raises StopIteration when the script is too short for the program.
    """
    script = answers if callable(answers) else _in_turn(iter(answers))
    driven = Program("played", program, seed="played")
    asked = driven.start()
    requests: list[Request] = []
    while asked:
        step, asked = asked, []
        for place, (_, request) in enumerate(step):
            requests.append(request)
            answer = script(request)
            asked = driven.answer(place, Output(text=answer) if isinstance(answer, str) else answer)
    return Play(tuple(requests), driven.result)


def _in_turn(answers: Iterator[Output | Likelihoods | str]) -> Answerer:
    return lambda request: next(answers)
