"""The adapter with every choice open: which checkpoint, which revision, which LoRA adapter."""

from __future__ import annotations

from typing import ClassVar

from deepsight_transformers.local import Checkpoint, LocalModel


class TransformersModel(LocalModel):
    """Any causal language model that transformers can load, from the Hugging Face hub or a folder."""

    name: ClassVar[str] = "transformers"

    id: str
    """The model on the hub, owner/name, or a folder that `save_pretrained` wrote."""
    revision: str | None = None
    """Branch, tag or commit on the hub; a commit makes the run repeatable."""
    adapter: str | None = None
    """A LoRA adapter, on the hub or in a folder, merged into the weights once they are loaded."""
    trust_remote_code: bool = False
    """Whether code that comes with the checkpoint may run here."""

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.id, self.revision, self.adapter, self.trust_remote_code)
