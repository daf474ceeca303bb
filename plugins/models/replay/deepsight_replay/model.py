"""The model that repeats what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import PrivateAttr

from deepsight_core import Generate, Message, Model, Output, content_id
from deepsight_core.errors import ModelError
from deepsight_core.sources import file_digest
from deepsight_replay.recording import Key, conversation, read


class Replay(Model):
    """Recorded answers: a run's records.jsonl, or JSON lines or CSV with a prompt and an answer in each row.

    A request is answered when its whole conversation was recorded, word for word; where only a prompt was recorded,
    when that is the last user message. Anything else is an output with an error, never an empty answer.
    """

    name: ClassVar[str] = "replay"

    path: Path
    """The file with the answers."""
    prompt_field: str | None = None
    """Its column with the prompt, or with the list of messages; None looks for prompt, messages."""
    answer_field: str | None = None
    """Its column with the answer; None looks for response, completion, answer."""

    _answers: dict[Key, Output] | None = PrivateAttr(None)

    def open(self) -> None:
        """Read the file. Raises ConfigError when it cannot be understood or answers a prompt in two ways."""
        self._answers = read(self.path, self.prompt_field, self.answer_field)

    def close(self) -> None:
        self._answers = None

    def generate(self, requests: Sequence[Generate]) -> list[Output]:
        return [self._recorded(request.messages) for request in requests]

    def digest(self) -> str:
        """Of the file's content, and of the columns that are read."""
        return content_id(file_digest(self.path), self.prompt_field, self.answer_field)

    def _recorded(self, messages: Sequence[Message]) -> Output:
        if self._answers is None:
            raise ModelError("model 'replay' is not open: use it within `with model.opened():`")
        asked = next((message.text for message in reversed(messages) if message.role == "user"), "")
        found = self._answers.get(conversation(messages)) or self._answers.get(asked)
        return found or Output(
            stop="error", error=f"no recorded answer in {self.path.name} for the prompt {asked[:80]!r}"
        )
