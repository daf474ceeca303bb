"""A text as the model reads it, and which of its tokens are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deepsight_torch.pictures import Pictures

Range = tuple[int, int]
Indices = range | tuple[int, ...]
"""Places of tokens in a text, ascending."""


@dataclass(frozen=True)
class Rendered:
    """A text as the model reads it."""

    ids: tuple[int, ...]
    text: str
    spans: Mapping[str, Range]
    """Token ranges [start, stop): "user", the words of the last user message; "response", the answer's; "image:0" and
    so on, those of one image each."""
    end_of_instruction: int | None
    """Index of the last token of the last user message's words; None when there are none."""
    pictures: Pictures | None = None
    """What the model takes in of the images of the text; None when it has none."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answer(self) -> int:
        """Index of the answer's first token; the length of a text without one."""
        start, stop = self.spans.get("response", (0, 0))
        return start if stop else len(self)

    def places(self, name: str) -> Indices:
        """The tokens of a named part: a span, "image" (of all images), or "text" (all but these); empty when the text
        has no such part."""
        if name in self.spans:
            return range(*self.spans[name])
        images = {index for span in self.spans if span.startswith("image:") for index in range(*self.spans[span])}
        if name == "image":
            return tuple(sorted(images))
        if name == "text":
            return tuple(index for index in range(len(self)) if index not in images)
        return range(0)
