"""Which text of a prompt is read, how it is written, and where in it a want looks."""

from __future__ import annotations

from dataclasses import dataclass

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, Last, Positions, PostInstruction, Prompt, Span, Steps, Want
from deepsight_torch.rendering import Indices, Rendered, Renderer


@dataclass(frozen=True)
class Reading:
    """A kind of text and the way in which it is written; the fields are those of `Want`."""

    text: str
    raw: bool = False
    suffix: str = ""
    specials: bool = False

    @classmethod
    def of(cls, want: Want) -> Reading:
        """Two wants with one reading can share a pass: what makes no difference to the text is left out."""
        if want.text == "target":
            return cls("target")
        suffix = want.suffix if want.text == "exchange" else ""
        return cls(want.text, want.raw, suffix, want.specials and not want.raw)

    def render(self, renderer: Renderer, prompt: Prompt) -> Rendered:
        """Raises DiagnosticError for a prompt that lacks what is to be read, ConfigError for messages that the
        template refuses."""
        if self.text == "target":
            if prompt.target is None:
                raise DiagnosticError("has no reference answer: choose data whose samples have a target")
            return renderer.target(prompt.target)
        if self.text == "prompt":
            return renderer.prompt(prompt.messages, raw=self.raw, specials=self.specials)
        if self.suffix and prompt.answer is None and prompt.answer_tokens is None:
            raise DiagnosticError("has no answer that the suffix could follow")
        return renderer.exchange(
            prompt.messages,
            prompt.answer,
            tokens=prompt.answer_tokens,
            suffix=self.suffix,
            raw=self.raw,
            specials=self.specials,
        )


def places(where: Positions, text: Rendered, truncate: int | None = None) -> Indices:
    """The tokens of a text at which positions look, when only the first `truncate` are read. Raises DiagnosticError
    when there are none, or fewer than wanted."""
    length = len(text) if truncate is None else min(len(text), truncate)
    if isinstance(where, Last):
        if length < where.k:
            raise DiagnosticError(f"has {length} tokens, but its last {where.k} are wanted")
        return range(length - where.k, length)
    found = _unclipped(where, text)
    inside = range(found.start, min(found.stop, length)) if isinstance(found, range) else _below(found, length)
    if isinstance(where, Span) and where.last:
        inside = inside[-1:]
    if not inside:
        cut = f" within its first {truncate} tokens" if truncate is not None else ""
        raise DiagnosticError(f"has no tokens at {where.type} {getattr(where, 'name', '')}".rstrip() + cut)
    return inside


def _unclipped(where: Positions, text: Rendered) -> Indices:
    if isinstance(where, All):
        return range(len(text))
    if isinstance(where, Span):
        return text.places(where.name)
    if isinstance(where, Steps):
        start, stop = text.answer - 1, text.spans.get("response", (0, 0))[1] - 1
        if start < 0:
            raise DiagnosticError("has no token before its answer, so nothing decided the first one")
        return range(start, stop if where.stop is None else min(stop, start + where.stop))
    if text.end_of_instruction is None:
        raise DiagnosticError("has no user message, or an empty one: no end of instruction")
    after = text.end_of_instruction + 1
    return range(after, text.answer) if isinstance(where, PostInstruction) else range(after - 1, after)


def _below(indices: tuple[int, ...], length: int) -> tuple[int, ...]:
    return tuple(index for index in indices if index < length)
