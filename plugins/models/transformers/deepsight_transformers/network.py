"""A causal language model as a function of token ids, the mask of real tokens, and a cache."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from deepsight_core.errors import ModelError

FILLER = 0  # the id that padding columns hold; any will do, since the mask hides them

WORTH = 256  # tokens saved, from which on it pays to read a common beginning in a pass of its own


@dataclass
class Prefix:
    """What a model has read so far, one row a text."""

    cache: Any
    mask: Tensor
    """(rows, columns), 1 where a column holds a real token."""
    logits: Tensor
    """(rows, vocabulary), float32: what comes next."""


class Network:
    """Hides how families differ in what their `forward` takes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        if "past_key_values" not in accepted:
            raise ModelError(f"{type(model).__name__} keeps no attention cache; this adapter cannot decode with it")
        self._takes_positions = "position_ids" in accepted
        self._takes_tail = "logits_to_keep" in accepted

        self.joinable = all(type(layer) is DynamicLayer for layer in self._cache().layers)
        """Whether rows of different flights fit into one cache, which those of sliding windows and of recurrent states
        do not."""

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def context(self) -> int | None:
        """The longest text, in tokens; None when the configuration names none."""
        found = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    def shared(self, texts: Sequence[Sequence[int]], most: int) -> int:
        """Tokens, at most `most`, that all texts begin with (a system prompt, a judge's rubric), where reading them
        once pays; else 0."""
        common = min(shared_length(texts), most) if self.joinable else 0
        return common if common * (len(texts) - 1) >= WORTH else 0

    def read(self, texts: Sequence[Sequence[int]], shared: int = 0) -> Prefix:
        """Read texts from the beginning, left padded to one length; their first `shared` tokens are read once."""
        cache = self._cache()
        if shared:
            self(torch.tensor([texts[0][:shared]]), torch.ones((1, shared), device=self.device).long(), cache, last=1)
            cache.reorder_cache(torch.zeros(len(texts), dtype=torch.long, device=self.device))
        width = max(map(len, texts))
        ids = torch.full((len(texts), width - shared), FILLER)
        mask = torch.zeros((len(texts), width), dtype=torch.long)
        mask[:, :shared] = 1
        for row, text in enumerate(texts):
            ids[row, width - len(text) :] = torch.tensor(text[shared:])
            mask[row, width - len(text) + shared :] = 1
        mask = mask.to(self.device)
        return Prefix(cache, mask, self(ids, mask, cache, last=1)[:, -1])

    def __call__(self, ids: Tensor, mask: Tensor, cache: Any, last: int) -> Tensor:
        """Logits of (at least) the `last` columns: (rows, columns, vocabulary), float32.

        `ids` are the new columns; `mask` covers those that the cache holds and the new ones. The cache grows.
        """
        extra: dict[str, Any] = {}
        if self._takes_positions:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if self._takes_tail:
            extra["logits_to_keep"] = last
        output = self.model(
            input_ids=ids.to(self.device), attention_mask=mask, past_key_values=cache, use_cache=True, **extra
        )
        logits: Tensor = output.logits[:, -last:].to(self.device, torch.float32)
        return logits

    def _cache(self) -> Any:
        return DynamicCache(config=self.model.config)


def shared_length(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all texts begin with, leaving each at least one of its own."""
    columns = zip(*(text[:-1] for text in texts), strict=False)
    return next((place for place, tokens in enumerate(columns) if len(set(tokens)) > 1), min(map(len, texts)) - 1)


def out_of_memory(error: BaseException) -> bool:
    """Whether torch failed to get memory, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory"))
    )
