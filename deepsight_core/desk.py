"""Where the engine meets the models: each model streams in a thread of its own, from an inbox to a common outbox."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue

from deepsight_core.components import Model, Ticket
from deepsight_core.errors import ModelError
from deepsight_core.protocol import Likelihoods, Output, Request

Reply = tuple[Ticket, Output | Likelihoods]


class QueuedInbox:
    """The requests of one model, first in, first out."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Ticket, Request]] = deque()
        self._changed = threading.Condition()
        self.closed = False
        """Whether no more will come."""

    def put(self, requests: Sequence[tuple[Ticket, Request]]) -> None:
        with self._changed:
            self._queue.extend(requests)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._queue.clear()

    def take(self, most: int, wait: bool = True) -> list[tuple[Ticket, Request]]:
        with self._changed:
            while wait and not self._queue and not self.closed:
                self._changed.wait()
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]


class Desk:
    """Sends requests to the models bound to roles and collects what comes back."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._outbox: SimpleQueue[Reply | ModelError] = SimpleQueue()
        self._failure: ModelError | None = None
        self._inboxes: dict[int, QueuedInbox] = {}
        self._by_role: dict[str, QueuedInbox] = {}
        self._pending: dict[int, list[tuple[Ticket, Request]]] = {}
        self._threads: list[threading.Thread] = []
        for role, model in models.items():
            if id(model) not in self._inboxes:  # two roles on one model share its queue
                inbox = self._inboxes[id(model)] = QueuedInbox()
                self._threads.append(
                    threading.Thread(target=self._work, args=(model, inbox), name=f"model {model.name}", daemon=True)
                )
            self._by_role[role] = self._inboxes[id(model)]
        for thread in self._threads:
            thread.start()

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self._by_role)

    def ask(self, ticket: Ticket, request: Request) -> None:
        """Queue a request; `flush` sends what is queued, so that a model sees many at once."""
        self._pending.setdefault(id(self._by_role[request.role]), []).append((ticket, request))

    def flush(self) -> None:
        for inbox in self._inboxes.values():
            if requests := self._pending.pop(id(inbox), None):
                inbox.put(requests)

    def collect(self, seconds: float) -> list[Reply]:
        """All replies at hand, waiting up to `seconds` for the first. Raises ModelError when an adapter broke, once
        what was answered before is collected."""
        replies: list[Reply] = []
        try:
            item = self._outbox.get(timeout=0 if self._failure else seconds)
            while True:
                if isinstance(item, ModelError):
                    self._failure = item
                else:
                    replies.append(item)
                item = self._outbox.get_nowait()
        except Empty:
            if self._failure and not replies:
                raise self._failure from self._failure.__cause__
            return replies

    def close(self, wait: bool) -> None:
        """Tell the models that no more will come; with `wait`, until they have wound up."""
        for inbox in self._inboxes.values():
            if not wait:
                inbox.clear()
            inbox.close()
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self, model: Model, inbox: QueuedInbox) -> None:
        try:
            for ticket, reply in model.stream(inbox):
                if not isinstance(reply, (Output, Likelihoods)):
                    raise ModelError(f"it replied {reply!r} instead of an Output or Likelihoods")
                self._outbox.put((ticket, reply))
            if not inbox.closed:
                raise ModelError("its stream ended without answering all that it was asked")
        except BaseException as error:  # an adapter may break in any way; the engine's thread reports it
            failure = ModelError(f"model {model.name!r} broke: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._outbox.put(failure)
