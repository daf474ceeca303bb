"""Render messages that hold images, as a model's processor does, and say which tokens are whose image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from torch import Tensor

from deepsight_core.errors import CapabilityError, ConfigError
from deepsight_core.messages import Audio, Image, Message, Text, user
from deepsight_torch.pictures import Pictures, digest
from deepsight_torch.rendering import Range, Rendered, Renderer, Turn

MARK = "Zq7MARKq7Z"
PROBE = "What is in this picture?"


class ImageRenderer(Renderer):
    """Renders for a processor (tokenizer, image processor and a template that knows images), as `AutoProcessor` gives.

    `image_token` is the id of the token that is replaced by image features (the configuration's `image_token_id`).
    Texts without images are rendered as by `Renderer`. Spans: "image:0" and so on run from an image's first token to
    its last, with the tokens that a model writes between its rows or tiles; words around an image that stands among
    them are one span. Raises CapabilityError for audio, for images in a raw text, and where Pillow is missing.
    """

    def __init__(
        self,
        processor: Any,
        image_token: int,
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(processor.tokenizer, template or getattr(processor, "chat_template", None), template_options)
        self.processor = processor
        self.image_id = image_token
        self.image_token: str = self.tokenizer.convert_ids_to_tokens(image_token)

    def probe(self) -> tuple[Rendered, list[int]]:
        """A short text with a small picture, for a self-check, and the tokens that image features replace."""
        text = self.prompt([user(_picture(), PROBE)])
        return text, [place for place, id in enumerate(text.ids) if id == self.image_id]

    def prompt(self, messages: Sequence[Message], raw: bool = False, specials: bool = False) -> Rendered:
        if not (media := _media(messages)):
            return super().prompt(messages, raw, specials)
        _check(raw or self.plain, specials)
        return self._illustrated(messages, media, opening=True)

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
        if not (media := _media(messages)):
            return super().exchange(messages, answer, tokens=tokens, suffix=suffix, raw=raw, specials=specials)
        _check(raw or self.plain, specials)
        if tokens is None and answer is None:
            return self._illustrated(messages, media, opening=False)
        prompt = self._illustrated(messages, media, opening=True)
        if tokens is not None:
            rendered = self._written(prompt, tokens, suffix)
        else:
            rendered = self._answered(self._turns(messages), prompt, answer or "", suffix, apart=False)
        return replace(rendered, pictures=prompt.pictures)

    def _illustrated(self, messages: Sequence[Message], media: Sequence[Image], opening: bool) -> Rendered:
        turns = self._turns(messages)
        text = self._text(turns, opening)
        expanded, ids, inputs = self._processed(text, media)
        segments = _segments(text, expanded, self.processor.image_token)
        places = {name: _moved(place, segments) for name, place in self._places(turns, text, opening).items()}
        for number, ((_, _, start), (_, stop, _)) in enumerate(pairwise(segments)):
            first, last = (find(self.image_token, start, stop) for find in (expanded.find, expanded.rfind))
            if first < 0:
                raise ConfigError(f"the processor puts no {self.image_token} where image {number} is")
            places[f"image:{number}"] = first, last + len(self.image_token)
        rendered = self._rendered(expanded, self._tokens(expanded), places)
        stop = max(rendered.spans[name][1] for name in rendered.spans if name.startswith("image:"))
        if ids != rendered.ids:
            raise ConfigError(f"{type(self.processor).__name__} gives other tokens than its tokenizer does")
        pictures = Pictures(lambda: self._processed(text, media)[2], digest(inputs), len(rendered), stop)
        return replace(rendered, pictures=pictures)

    def _processed(self, text: str, media: Sequence[Image]) -> tuple[str, tuple[int, ...], dict[str, Tensor]]:
        """The text with the tokens of its images, its ids, and what else the model takes in: pixels and the like."""
        processor = copy(self.processor)
        processor.tokenizer = witness = _Witness(self.tokenizer)
        images = [_opened(image) for image in media]
        try:
            made = processor(text=[text], images=images, add_special_tokens=False, return_tensors="pt")
        except ValueError as error:
            raise ConfigError(f"{type(self.processor).__name__} refuses this text and its images: {error}") from error
        tensors = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        tensors.pop("attention_mask", None)
        return witness.text, tuple(tensors.pop("input_ids")[0].tolist()), tensors

    def _turns(self, messages: Sequence[Message]) -> list[Turn]:
        if not _media(messages):
            return super()._turns(messages)
        turns: list[Turn] = [{"role": message.role, "content": _parts(message)} for message in messages]
        if turns[0]["role"] == "system" and not self.keeps_system:
            head, *turns = turns
            if not turns or turns[0]["role"] != "user":
                return [{**head, "role": "user"}, *turns]
            turns[0] = {**turns[0], "content": [*head["content"], *_as_parts("\n\n"), *turns[0]["content"]]}
        return turns

    def _text(self, turns: Sequence[Turn], opening: bool) -> str:
        if not self.plain and (self._wants_parts or any(isinstance(turn["content"], list) for turn in turns)):
            turns = [{**turn, "content": _as_parts(turn["content"])} for turn in turns]
        return super()._text(turns, opening)

    @cached_property
    def _wants_parts(self) -> bool:
        """Whether the template loses words that are not in a list of parts."""
        try:
            return MARK not in super()._text([{"role": "user", "content": MARK}], opening=True)
        except (ConfigError, TypeError):
            return True

    def _place(self, turns: Sequence[Turn], number: int, text: str, opening: bool) -> Range:
        parts = turns[number]["content"]
        if not isinstance(parts, list):
            return super()._place(turns, number, text, opening)
        words = [n for n, part in enumerate(parts) if part["type"] == "text"]
        if not words:
            return 0, 0
        ends = []
        for place in (words[0], words[-1]):
            content = [*parts[:place], {"type": "text", "text": MARK}, *parts[place + 1 :]]
            marked = self._text([*turns[:number], {**turns[number], "content": content}, *turns[number + 1 :]], opening)
            ends.append(marked.split(MARK))
        start, stop = len(ends[0][0]), len(text) - len(ends[1][-1])
        return (start, stop) if stop > start else (0, 0)

    def _continuation(self, turns: Sequence[Turn], prompt: str, answer: str) -> str:
        illustrated = any(isinstance(turn["content"], list) for turn in turns)
        return super()._continuation(turns, self._text(turns, opening=True) if illustrated else prompt, answer)


def renderer_for(reader: Any, config: Any) -> Renderer:
    """The renderer of a tokenizer, or of a processor for a model that replaces a token by images."""
    image_token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    if image_token is None or not hasattr(reader, "image_processor"):
        return Renderer(getattr(reader, "tokenizer", reader))
    return ImageRenderer(reader, image_token)


class _Witness:
    """A tokenizer that remembers the text that it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.text = ""

    def __call__(self, text: Any, **options: Any) -> Any:
        self.text = text if isinstance(text, str) else text[0]
        return self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _check(raw: bool, specials: bool) -> None:
    if raw:
        raise CapabilityError("a text without a chat template has no place for an image")
    if specials:
        raise CapabilityError("the special tokens of a text with images are the template's: leave Want.specials out")


def _media(messages: Sequence[Message]) -> list[Image]:
    media = [part for message in messages for part in message.media]
    if sounds := [part for part in media if isinstance(part, Audio)]:
        raise CapabilityError(f"this model reads text and images only, but a message holds {sounds[0].media_type}")
    return [part for part in media if isinstance(part, Image)]


def _parts(message: Message) -> list[dict[str, str]]:
    if isinstance(message.content, str):
        return _as_parts(message.content)
    return [{"type": "text", "text": p.text} if isinstance(p, Text) else {"type": "image"} for p in message.content]


def _as_parts(content: Any) -> list[dict[str, str]]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _opened(image: Image) -> Any:
    try:
        from PIL import Image as Pillow, UnidentifiedImageError
    except ImportError as error:
        raise CapabilityError("reading images needs Pillow: pip install pillow") from error
    try:
        return Pillow.open(io.BytesIO(image.read())).convert("RGB")
    except UnidentifiedImageError as error:
        raise CapabilityError(f"{image.uri[:200]} is no image that Pillow can read") from error


def _picture() -> Image:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.linear_gradient("L").resize((64, 64)).save(file, "PNG")
    return Image(uri=f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", media_type="image/png")


def _segments(text: str, expanded: str, placeholder: str) -> list[tuple[int, int, int]]:
    """The text between placeholders: where each piece starts in `text`, and starts and stops in `expanded`."""
    pieces = text.split(placeholder)
    segments = []
    at = cursor = 0
    for number, piece in enumerate(pieces):
        start = len(expanded) - len(piece) if number == len(pieces) - 1 else expanded.find(piece, cursor)
        if start < cursor or not expanded.startswith(piece, start):
            raise ConfigError("the processor changes the words around an image, so that they cannot be found again")
        segments.append((at, start, start + len(piece)))
        at, cursor = at + len(piece) + len(placeholder), start + len(piece)
    return segments


def _moved(place: Range, segments: Sequence[tuple[int, int, int]]) -> Range:
    """Characters of the text as characters of the expanded one."""
    start, stop = place
    if stop <= start:
        return 0, 0
    first = max((segment for segment in segments if segment[0] <= start), default=segments[0])
    last = max((segment for segment in segments if segment[0] < stop), default=segments[0])
    return first[1] + start - first[0], last[1] + stop - last[0]
