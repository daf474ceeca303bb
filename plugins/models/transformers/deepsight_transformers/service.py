"""Serve an inbox: keep one flight of rows full, from a pool that is topped up without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from deepsight_torch import Renderer, TransformersInside

from deepsight_core import Generate, Inbox, Likelihoods, LogLikelihood, Output, Request, Ticket
from deepsight_transformers import reasoning
from deepsight_transformers.decoding import Ending, Flight, Row
from deepsight_transformers.likelihood import Question, batch_of, score, tokenised
from deepsight_transformers.network import Network, out_of_memory

POOL = 1024  # requests held at a time: enough to find neighbours in length
REFILL = 4  # a flight is refilled when newcomers are at least a quarter of it: reading prompts holds the others up
PADDING = 1.1  # longest to shortest prompt of those that are read together
PASS = 512  # tokens that make a pass worth its while, padded or not

Reply = tuple[Ticket, Output | Likelihoods]


class Service:
    """One model at work. `budget` bounds rows x (prompt + max_tokens), the columns of the attention cache."""

    def __init__(
        self,
        network: Network,
        renderer: Renderer,
        ending: Ending,
        budget: int,
        markers: reasoning.Markers = reasoning.MARKERS,
        inside: Callable[[], TransformersInside | None] = lambda: None,
    ) -> None:
        self.network, self.renderer, self.ending = network, renderer, ending
        self.budget, self.markers, self.inside = budget, markers, inside
        self.waiting: list[Row] = []
        self.questions: list[Question] = []
        self.flight = Flight(network, ending)

    def serve(self, inbox: Inbox) -> Iterator[Reply]:
        """Reply to requests in the order in which they finish, until no more will come."""
        while True:
            idle = not (self.waiting or self.questions or self.flight.rows)
            arrived = inbox.take(POOL - len(self.waiting) - len(self.questions), wait=idle)
            if idle and not arrived:
                return
            for ticket, request in arrived:
                refusal = self._accept(ticket, request)
                if refusal:
                    yield ticket, refusal
            if self.questions:
                yield from self._score()
            if self.waiting or self.flight.rows:
                yield from self._decode()

    def _accept(self, ticket: Ticket, request: Request) -> Output | Likelihoods | None:
        """Put a request into the pool, or say why it cannot be served."""
        try:
            if isinstance(request, Generate):
                self.waiting.append(self._row(ticket, request))
            else:
                self.questions.append(self._question(ticket, request))
        except Exception as error:  # templates and tokenizers refuse a conversation in many ways; the others go on
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            if isinstance(request, LogLikelihood):
                return Likelihoods(error=reason)
            return Output(stop="error", error=reason)
        return None

    def _row(self, ticket: Ticket, request: Generate) -> Row:
        prompt = self.renderer.prompt(request.messages)
        room = self._room(len(prompt.ids), "prompt")
        return Row(ticket, request, prompt.ids, min(request.max_tokens, room), prompt.text[-80:])

    def _question(self, ticket: Ticket, request: LogLikelihood) -> Question:
        question = tokenised(ticket, request, self.renderer)
        self._room(question.width - 1, "prompt with its longest continuation")
        return question

    def _room(self, length: int, what: str) -> int:
        """Tokens that the context leaves after `length`. Raises ValueError when there is none, or no token to read."""
        context = self.network.context or 2**31
        if not 0 < length < context:
            raise ValueError(f"the {what} has {length} tokens, which does not fit the model's context of {context}")
        return context - length

    def _score(self) -> Iterator[Reply]:
        oldest = self.questions[0]
        batch = batch_of(sorted(self.questions, key=lambda question: abs(question.width - oldest.width)), self.budget)
        replies = None
        try:
            replies = score(self.network, batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        if replies is None:
            if self._shrink([question.width for question in batch for _ in question.continuations], len(batch)):
                return
            replies = [Likelihoods(error=_too_large(oldest.width))]
        answered = set(batch)
        self.questions = [question for question in self.questions if question not in answered]
        yield from zip((question.ticket for question in batch), replies, strict=True)

    def _decode(self) -> Iterator[Reply]:
        newcomers = self._newcomers()
        boarding = set(newcomers)
        self.waiting = [row for row in self.waiting if row not in boarding]
        finished = None
        try:
            finished = self._board(newcomers) if newcomers else self.flight.step()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        if finished is None:  # outside the handler, whose traceback keeps tensors alive
            finished = self._retreat(newcomers)
        for row in finished:
            yield row.ticket, self._output(row)

    def _newcomers(self) -> list[Row]:
        """Waiting rows to take on now: the one that has waited longest and its neighbours in length.

        Starting from the oldest means that none waits for ever, whatever arrives after it.
        """
        flying = self.flight.rows
        if not self.waiting or (flying and not self.network.joinable):
            return []
        oldest, width = self.waiting[0], max((row.width for row in flying), default=0)
        if flying and (len(flying) + 1) * max(width, oldest.width) > self.budget:
            return []
        chosen: list[Row] = []
        for row in sorted(self.waiting, key=lambda row: _distance(row, oldest)):
            wider = max(width, row.width)
            if (len(flying) + len(chosen) + 1) * wider <= self.budget or row is oldest:
                chosen.append(row)
                width = wider
        return chosen if len(chosen) * REFILL >= len(flying) else []

    def _board(self, newcomers: Sequence[Row]) -> list[Row]:
        finished: list[Row] = []
        for group in alike(newcomers) if self.network.joinable else [newcomers]:
            fresh = Flight(self.network, self.ending)
            texts = [row.prompt for row in group]
            inside = self.inside()
            shared = self.network.shared(texts, inside.unwatched(texts) if inside else len(texts[0]))
            with inside.prefill(texts, shared) if inside else nullcontext():
                finished += fresh.begin(group, shared)
            if not self.flight.rows:
                self.flight = fresh
            elif fresh.rows:
                self.flight.join(fresh)
        return finished

    def _retreat(self, newcomers: Sequence[Row]) -> list[Row]:
        """After running out of memory: all start again, in smaller company. Returns the row that is alone too large."""
        rows = [*self.flight.rows, *(row for row in newcomers if row not in self.flight.rows)]
        self.flight = Flight(self.network, self.ending)
        if not self._shrink([row.width for row in rows], len(rows)):
            rows[0].stop, rows[0].error = "error", _too_large(rows[0].width)
            return rows
        for row in rows:
            row.restart()
        self.waiting = rows + self.waiting
        return []

    def _shrink(self, widths: Sequence[int], requests: int) -> bool:
        """Allow half of what was too much; False when it was a single request, which says nothing about the others."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if requests == 1:
            return False
        self.budget = max(1, min(self.budget, len(widths) * max(widths)) // 2)
        return True

    def _output(self, row: Row) -> Output:
        if row.stop is None or row.stop == "error":
            return Output(stop="error", error=row.error, tokens_in=len(row.prompt))
        text = self.ending.cut(row) if row.request.stop else None
        answer, thoughts = reasoning.split(
            self.ending.decode(row.tokens) if text is None else text, self.markers, row.lead
        )
        return Output(
            text=answer,
            reasoning=thoughts,
            stop=row.stop,
            tokens_in=len(row.prompt),
            tokens_out=len(row.tokens),
            seconds=time.perf_counter() - row.began,
        )


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Groups of rows whose prompts are read together: little padding, and enough tokens to be worth a pass."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row.prompt)):
        shortest = len(groups[-1][0].prompt) if groups else 0
        if not groups or (len(row.prompt) > PADDING * shortest and len(groups[-1]) * shortest >= PASS):
            groups.append([])
        groups[-1].append(row)
    return groups


def _distance(one: Row, other: Row) -> int:
    return abs(len(one.prompt) - len(other.prompt)) + abs(one.limit - other.limit)


def _too_large(width: int) -> str:
    return f"out of memory with this request alone ({width} tokens with its answer): use a smaller dtype or max_tokens"
