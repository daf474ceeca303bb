"""Run a decoder without its head, on a whole text or on what follows a prefix that was read before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor
from transformers import DynamicCache


def decode(
    decoder: Any, ids: Tensor, mask: Tensor | None = None, cache: Any = None, arguments: Mapping[str, Any] | None = None
) -> Any:
    """One forward pass over ids of shape (batch, tokens); `mask` is 1 at real tokens. A cache is added to. `arguments`
    are what else the model takes in."""
    return decoder(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, **(arguments or {})
    )


@contextmanager
def forgetting(model: Any) -> Iterator[None]:
    """Gives a model back what it remembers of a pass with images (how far its positions run behind), lest a later pass
    of a text take it for its own."""
    remembered = getattr(model, "rope_deltas", None)
    try:
        yield
    finally:
        if hasattr(model, "rope_deltas"):
            model.rope_deltas = remembered


def prefix_cache(config: Any) -> Any:
    """An empty cache that knows the model's windows and layer types, without which reuse would not be exact."""
    return DynamicCache(config=config)


def repeated(cache: Any, times: int) -> Any:
    """A copy of a cache of batch size 1, for a batch of `times`; the original stays as it is."""
    copy = deepcopy(cache)
    copy.batch_repeat_interleave(times)
    return copy
