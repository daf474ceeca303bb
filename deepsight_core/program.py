"""One running protocol: a generator, the requests that it waits for, and the answers it was given so far."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from deepsight_core.errors import InvalidPlugin
from deepsight_core.protocol import Exchange, Generate, Likelihoods, LogLikelihood, Output, Request

Reply = Output | Likelihoods
_UNANSWERED: Any = object()


class Program:
    """Drives one generator. `path` names it within its record: `elicit`, or a judge."""

    def __init__(self, path: str, generator: Generator[Any, Any, Any], seed: str) -> None:
        self.path = path
        self.exchanges: list[Exchange] = []
        self.result: Any = None
        self.done = False
        """It returned."""
        self.ended = False
        """It returned or was closed: replies that still come are nobody's."""
        self._generator = generator
        self._seed = seed
        self._step = -1
        self._requests: list[Request] = []
        self._single = True
        self._counts: list[int] = []
        self._replies: list[Reply] = []
        self._missing = 0

    def start(self) -> list[tuple[str, Request]]:
        """Run to the first step; its requests, each with its key."""
        return self._send(None)

    def answer(self, place: int, reply: Reply) -> list[tuple[str, Request]]:
        """Take one reply. When it was the last one missing, run on: the next step's requests, or none."""
        self._replies[place] = reply
        self._missing -= 1
        if self._missing:
            return []
        self.exchanges.extend(
            Exchange(request=request, reply=answer)
            for request, answer in zip(self._requests, self._replies, strict=True)
        )
        return self._send(self._shaped())

    def answers(self, replies: Sequence[tuple[int, Reply]]) -> list[tuple[str, Request]]:
        """Take several replies, each with its place."""
        asked: list[tuple[str, Request]] = []
        for place, reply in replies:
            asked = self.answer(place, reply)
        return asked

    def close(self) -> None:
        self.ended = True
        with suppress(RuntimeError):  # a protocol that catches everything cannot be closed; it is not asked again
            self._generator.close()

    def _send(self, value: Any) -> list[tuple[str, Request]]:
        try:
            step = self._generator.send(value)
        except StopIteration as stop:
            self.result, self.done, self.ended = stop.value, True, True
            return []
        self._step += 1
        return self._expand(step)

    def _expand(self, step: Any) -> list[tuple[str, Request]]:
        """A step as single requests: lists are asked in parallel, `samples=n` is n requests."""
        single = isinstance(step, (Generate, LogLikelihood))
        listed: Sequence[Request] = [step] if single else step
        if not isinstance(listed, Sequence) or not all(isinstance(r, (Generate, LogLikelihood)) for r in listed):
            raise InvalidPlugin(f"{self.path} yielded {step!r}; yield a Generate or LogLikelihood, or a list of them")
        if not listed:
            return self._send([])
        keys: list[str] = []
        self._requests = []
        for i, request in enumerate(listed):
            key = f"{self.path}/{self._step}" if single else f"{self.path}/{self._step}.{i}"
            if isinstance(request, LogLikelihood) or request.samples == 1:
                keys.append(key)
                self._requests.append(self._seeded(request, key))
            else:
                for repetition in range(request.samples):
                    keys.append(f"{key}#{repetition}")
                    one = request.model_copy(update={"samples": 1})
                    self._requests.append(self._seeded(one, keys[-1]))
        self._single = single
        self._counts = [request.samples if isinstance(request, Generate) else 1 for request in listed]
        self._missing = len(self._requests)
        self._replies = [_UNANSWERED] * self._missing
        return list(zip(keys, self._requests, strict=True))

    def _seeded(self, request: Request, key: str) -> Request:
        """Sampling is reproducible: a seed from the run, the sample and the place in the program."""
        if isinstance(request, LogLikelihood) or request.temperature == 0 or request.seed is not None:
            return request
        digest = hashlib.blake2b(f"{self._seed}/{key}".encode(), digest_size=4).digest()
        return request.model_copy(update={"seed": int.from_bytes(digest, "big")})

    def _shaped(self) -> Any:
        """The replies in the shape of what was yielded."""
        shaped: list[Any] = []
        start = 0
        for count in self._counts:
            shaped.append(self._replies[start] if count == 1 else self._replies[start : start + count])
            start += count
        return shaped[0] if self._single else shaped


def request_digest(request: Request) -> str:
    """What makes two requests the same question."""
    return hashlib.blake2b(request.model_dump_json().encode(), digest_size=8).hexdigest()
