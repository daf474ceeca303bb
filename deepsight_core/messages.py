"""What is said: messages, their parts, and the base of all value objects."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlparse
from urllib.request import urlopen

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deepsight_core.errors import ChecksumMismatch, SourceError

Role = Literal["system", "user", "assistant"]


class Value(BaseModel):
    """Immutable, refuses unknown fields, compares by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced: a model may emit them, and no file could hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


Words = Annotated[str, AfterValidator(_encodable)]
"""Text that somebody outside made up: a model, a judge, an error message."""


class Text(Value):
    type: Literal["text"] = "text"
    text: str


class Media(Value):
    uri: str
    """A path, or a file:, data: or https: address."""
    media_type: str
    sha256: str | None = None
    """Digest of the bytes; checked when they are read."""

    def read(self) -> bytes:
        """The bytes, fetched now. Raises SourceError when unreachable, ChecksumMismatch when altered."""
        try:
            data = _fetch(self.uri)
        except OSError as error:
            raise SourceError(f"cannot read {self.media_type} at {self.uri[:200]}: {error}") from error
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise ChecksumMismatch(f"{self.uri[:200]} is not the file whose sha256 is {self.sha256}")
        return data


class Image(Media):
    type: Literal["image"] = "image"


class Audio(Media):
    type: Literal["audio"] = "audio"


Part = Annotated[Text | Image | Audio, Field(discriminator="type")]


class Message(Value):
    role: Role
    content: str | tuple[Part, ...]
    """Plain text, or parts in the order in which the model sees them."""

    @property
    def text(self) -> str:
        """The text alone, parts joined by newlines."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def media(self) -> tuple[Image | Audio, ...]:
        parts = () if isinstance(self.content, str) else self.content
        return tuple(part for part in parts if not isinstance(part, Text))


def _message(role: Role, parts: tuple[str | Text | Image | Audio, ...]) -> Message:
    if len(parts) == 1 and isinstance(parts[0], str):
        return Message(role=role, content=parts[0])
    return Message(role=role, content=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def user(*parts: str | Text | Image | Audio) -> Message:
    return _message("user", parts)


def system(*parts: str | Text | Image | Audio) -> Message:
    return _message("system", parts)


def assistant(*parts: str | Text | Image | Audio) -> Message:
    return _message("assistant", parts)


def _fetch(uri: str) -> bytes:
    scheme = urlparse(uri).scheme
    if scheme == "data":
        head, _, body = uri.partition(",")
        return base64.b64decode(body) if head.endswith(";base64") else unquote(body).encode()
    if scheme in ("http", "https"):
        with urlopen(uri, timeout=60) as response:
            return bytes(response.read())
    return Path(unquote(urlparse(uri).path) if scheme == "file" else uri).read_bytes()
