"""Turn messages into token ids through the model's chat template, and say which tokens are whose words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from deepsight_core.errors import CapabilityError, ConfigError
from deepsight_core.protocol import Message
from deepsight_torch.rendered import Indices as Indices, Range as Range, Rendered as Rendered

log = logging.getLogger(__name__)

PLAIN = "plain"
Turn = dict[str, Any]

_MARK = "Zq7MARKq7Z"
"""Stands for a message's words while looking for the place where a template puts them."""


class Renderer:
    """Renders messages for one tokenizer; used for generation and capture alike, so that both see the same tokens.

    `template` is None for the tokenizer's own chat template, "plain" for the messages' text joined by newlines, a
    path, or Jinja text; `template_options` go to the template (e.g. {"enable_thinking": False}). Raises ConfigError
    when the tokenizer has no template and none is chosen, and for messages that the template refuses.
    """

    def __init__(
        self, tokenizer: Any, template: str | None = None, template_options: Mapping[str, Any] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.options = dict(template_options or {})
        self.plain = template == PLAIN
        self.template = None if self.plain else _template_text(tokenizer, template)

    def prompt(self, messages: Sequence[Message], raw: bool = False, specials: bool = False) -> Rendered:
        """The messages and the template's opening of the answer. `raw`: the words alone, as the tokenizer begins a
        text; `specials`: with the tokenizer's special tokens although a template was used."""
        base = self._bare if raw else self
        turns = base._turns(messages)
        text = base._text(turns, opening=True)
        return base._wrapped(
            base._rendered(text, base._tokens(text), base._places(turns, text, opening=True)), specials
        )

    def exchange(
        self,
        messages: Sequence[Message],
        answer: str | None,
        *,
        tokens: Sequence[int] | None = None,
        suffix: str = "",
        raw: bool = False,
        specials: bool = False,
    ) -> Rendered:
        """The prompt and the answer that was given to it, the template's end of turn included; without an answer,
        the messages as they are.

        The tokens always begin with those of `prompt`, as they did when the answer was generated. Where a template
        would write the past differently (by adding or stripping thinking), the answer follows the prompt directly.
        `tokens` are the answer as it was written: nothing but the suffix follows them. `suffix` follows the answer
        without a space and is not part of the response. `raw`: prompt and answer, each tokenised by itself.
        """
        base = self._bare if raw else self
        turns = base._turns(messages)
        if tokens is not None:
            rendered = base._written(base.prompt(messages), tokens, suffix)
            return base._wrapped(rendered, specials, tail=False)
        if answer is None:
            text = base._text(turns, opening=False)
            rendered = base._rendered(text, base._tokens(text), base._places(turns, text, opening=False))
        else:
            rendered = base._answered(turns, base.prompt(messages), answer, suffix, apart=raw)
        return base._wrapped(rendered, specials)

    def target(self, text: str) -> Rendered:
        """A text by itself, without a template, as the tokenizer begins one."""
        ids, _ = self._bare._tokens(text)
        return Rendered(ids, text, {}, None)

    @cached_property
    def _bare(self) -> Renderer:
        """Renders without a template."""
        return self if self.plain else Renderer(self.tokenizer, PLAIN)

    def _answered(self, turns: Sequence[Turn], prompt: Rendered, answer: str, suffix: str, apart: bool) -> Rendered:
        rest = self._continuation(turns, prompt.text, answer + suffix)
        text = prompt.text + rest
        ids, offsets = self._tokens(text)
        start = len(prompt.ids)
        if apart or ids[:start] != prompt.ids:  # a token straddles the border, which cannot happen while generating
            added, places = self._tokens(rest, first=False)
            ids = prompt.ids + added
            offsets = (
                *((0, 0) for _ in prompt.ids),
                *((a + len(prompt.text), b + len(prompt.text)) for a, b in places),
            )
        words = answer if answer in rest else answer.strip()  # templates may trim
        at = len(prompt.text) + rest.find(words)
        _, stop = _token_range(offsets[start:], (at, at + len(words)))
        spans = {**prompt.spans, "response": (start, start + stop)}
        return Rendered(ids, text, spans, prompt.end_of_instruction)

    def _written(self, prompt: Rendered, tokens: Sequence[int], suffix: str) -> Rendered:
        start, stop = len(prompt), len(prompt) + len(tokens)
        after, _ = self._tokens(suffix, first=False) if suffix else ((), ())
        text = prompt.text + self.tokenizer.decode(list(tokens)) + suffix
        spans = {**prompt.spans, "response": (start, stop)}
        return Rendered((*prompt.ids, *tokens, *after), text, spans, prompt.end_of_instruction)

    def _wrapped(self, rendered: Rendered, specials: bool, tail: bool = True) -> Rendered:
        """A templated text with the special tokens that the tokenizer puts around texts."""
        if not specials or self.plain:
            return rendered
        before, after = self._around
        by = len(before)
        return Rendered(
            (*before, *rendered.ids, *(after if tail else ())),
            rendered.text,
            {name: (start + by, stop + by) if stop else (0, 0) for name, (start, stop) in rendered.spans.items()},
            None if rendered.end_of_instruction is None else rendered.end_of_instruction + by,
        )

    @cached_property
    def keeps_system(self) -> bool:
        """Whether the template shows a system message; otherwise it is put before the first user message."""
        if self.plain:
            return True
        probe = [{"role": "system", "content": _MARK}, {"role": "user", "content": "x"}]
        try:
            kept = _MARK in self._text(probe, opening=True)
        except ConfigError:
            kept = False
        if not kept:
            log.warning("the chat template has no system role: system messages go before the first user message")
        return kept

    def _turns(self, messages: Sequence[Message]) -> list[Turn]:
        if media := [part for message in messages for part in message.media]:
            raise CapabilityError(f"this model reads text only, but a message holds {media[0].media_type}")
        turns = [{"role": message.role, "content": message.text} for message in messages]
        if turns and turns[0]["role"] == "system" and not self.keeps_system:
            head, *turns = turns
            if not turns or turns[0]["role"] != "user":
                return [{"role": "user", "content": head["content"]}, *turns]
            turns[0] = {"role": "user", "content": f"{head['content']}\n\n{turns[0]['content']}"}
        return turns

    def _text(self, turns: Sequence[Turn], opening: bool) -> str:
        if self.plain:
            return "\n".join(turn["content"] for turn in turns)
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(turns), chat_template=self.template, tokenize=False, add_generation_prompt=opening, **self.options
            )
        except TemplateError as error:
            raise ConfigError(f"the chat template refuses these messages: {error}") from error
        return text

    def _continuation(self, turns: Sequence[Turn], prompt: str, answer: str) -> str:
        """What follows the prompt once it is answered: the template's rendering if it leaves the prompt as it was."""
        if not self.plain:
            whole = self._text([*turns, {"role": "assistant", "content": answer}], opening=False)
            rest = whole[len(prompt) :]
            if whole.startswith(prompt) and rest.lstrip().startswith(answer.strip()):
                return rest
        return answer

    @cached_property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens that the tokenizer itself puts before and after a plain text; a template writes its own."""
        alone = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("a")["input_ids"]
        for at in range(len(whole) - len(alone) + 1):
            if whole[at : at + len(alone)] == alone:
                return tuple(whole[:at]), tuple(whole[at + len(alone) :])
        return (), ()

    def _tokens(self, text: str, first: bool = True) -> tuple[tuple[int, ...], tuple[Range, ...]]:
        """Ids of a rendered text and the characters that each stands for; special tokens are the template's affair."""
        fast = self.tokenizer.is_fast
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast)
        ids = tuple(encoded["input_ids"])
        if fast:
            offsets = tuple((int(a), int(b)) for a, b in encoded["offset_mapping"])
        else:
            ends = [len(self.tokenizer.decode(ids[: n + 1])) for n in range(len(ids))]
            offsets = tuple(zip([0, *ends], ends, strict=False))
        if self.plain and first:
            before, _ = self._around
            ids, offsets = before + ids, tuple((0, 0) for _ in before) + offsets
        return ids, offsets

    def _places(self, turns: Sequence[Turn], text: str, opening: bool) -> dict[str, Range]:
        """Characters of the last user message's words, and of a last assistant message's."""
        places = {}
        for number in reversed(range(len(turns))):
            name = {"user": "user", "assistant": "response"}.get(turns[number]["role"])
            if name == "user" or (name and number == len(turns) - 1):
                places[name] = self._place(turns, number, text, opening)
            if name == "user":
                break
        return places

    def _place(self, turns: Sequence[Turn], number: int, text: str, opening: bool) -> Range:
        """Where the words of one message stand: what is left when everything that stays is taken off both ends."""
        marked = self._text([*turns[:number], {**turns[number], "content": _MARK}, *turns[number + 1 :]], opening)
        before, _, after = marked.rpartition(_MARK)
        if text.startswith(before) and text.endswith(after) and len(before) + len(after) <= len(text):
            return len(before), len(text) - len(after)
        words = turns[number]["content"].strip()  # the template treats this message in its own way
        at = text.rfind(words)
        return (at, at + len(words)) if at >= 0 else (0, 0)

    def _rendered(
        self, text: str, tokens: tuple[tuple[int, ...], tuple[Range, ...]], places: Mapping[str, Range]
    ) -> Rendered:
        ids, offsets = tokens
        spans = {name: _token_range(offsets, place) for name, place in places.items()}
        start, stop = spans.get("user", (0, 0))
        return Rendered(ids, text, spans, stop - 1 if stop > start else None)


def _template_text(tokenizer: Any, template: str | None) -> str | None:
    if template is None:
        if not tokenizer.chat_template:
            raise ConfigError(
                'this tokenizer has no chat template: set the option template = "plain" (the text as it is, for base '
                "models), or to a file or Jinja text"
            )
        return None
    if "{" in template:
        return template
    if not Path(template).is_file():
        raise ConfigError(f'template {template!r} is neither "plain", nor Jinja text, nor a file')
    return Path(template).read_text(encoding="utf-8")


def _token_range(offsets: Sequence[Range], place: Range) -> Range:
    """The tokens that share a character with `place`; (0, 0) when none does.

    Byte-level tokenizers report white space as empty ranges at its end, so an empty range stands for what precedes it.
    """
    low, high = place
    inside = [n for n, (a, b) in enumerate(offsets) if b > low and (a if b > a else b - 1) < high]
    return (inside[0], inside[-1] + 1) if inside and high > low else (0, 0)
