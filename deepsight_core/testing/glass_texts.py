"""What the model of glass reads: words instead of tokens, and where in them wants look."""

from __future__ import annotations

from dataclasses import dataclass

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import EndOfInstruction, Last, Positions, PostInstruction, Prompt, Span, Steps, Want

OPENING = ("<end>", "<answer>")
"""What the template writes after the last user message."""
CLOSING = ("<end>",)


@dataclass(frozen=True)
class Reading:
    """The words of a text and its parts, [start, stop)."""

    words: tuple[str, ...]
    user: tuple[int, int] = (0, 0)
    response: tuple[int, int] = (0, 0)


def read(prompt: Prompt, want: Want) -> Reading:
    """Raises DiagnosticError for a prompt without the wanted text."""
    if want.text == "target":
        if prompt.target is None:
            raise DiagnosticError(f"prompt {prompt.id!r}: has no reference answer")
        return _cut(Reading(_words(prompt.target)), want)
    before = tuple(word for message in prompt.messages[:-1] for word in _words(message.text))
    asked = _words(prompt.messages[-1].text)
    user = (len(before), len(before) + len(asked))
    head = (*before, *asked, *(() if want.raw else OPENING))
    given = prompt.answer_tokens is not None
    if want.text == "prompt" or (prompt.answer is None and not given):
        return _cut(Reading(head, user), want)
    answer = tuple(f"<{token}>" for token in prompt.answer_tokens or ()) if given else _words(prompt.answer or "")
    after = _words(want.suffix) + (() if want.raw or given else CLOSING)
    return _cut(Reading((*head, *answer, *after), user, (len(head), len(head) + len(answer))), want)


def places(where: Positions, text: Reading, id: str) -> tuple[int, ...]:
    """The places of the words at which positions look. Raises DiagnosticError when there are none."""
    found = _places(where, text)
    if not found or found[0] < 0 or (isinstance(where, Last) and len(found) < where.k):
        raise DiagnosticError(f"prompt {id!r}: has no tokens at {where.type} {getattr(where, 'name', '')}".rstrip())
    return tuple(found)


def _places(where: Positions, text: Reading) -> range:
    length = len(text.words)
    start, stop = text.response
    if isinstance(where, Last):
        return range(max(0, length - where.k), length)
    if isinstance(where, EndOfInstruction):
        return range(text.user[1] - 1, min(text.user[1], length))
    if isinstance(where, PostInstruction):
        return range(text.user[1], start or length)
    if isinstance(where, Steps):
        return range(start - 1, stop - 1 if where.stop is None else min(stop - 1, start - 1 + where.stop))
    if isinstance(where, Span):
        span = range(*{"user": text.user, "response": text.response, "text": (0, length)}.get(where.name, (0, 0)))
        return span[-1:] if where.last else span
    return range(length)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _cut(text: Reading, want: Want) -> Reading:
    keep = len(text.words) if want.truncate is None else want.truncate
    user, response = ((min(a, keep), min(b, keep)) for a, b in (text.user, text.response))
    return Reading(text.words[:keep], user, response)
