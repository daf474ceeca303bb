"""A model while it is open: the weights, and what is made from them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from deepsight_torch import Renderer, TransformersInside

from deepsight_transformers.decoding import Ending
from deepsight_transformers.digest import content_digest
from deepsight_transformers.loading import load
from deepsight_transformers.local import LocalModel
from deepsight_transformers.network import Network
from deepsight_transformers.reasoning import Markers
from deepsight_transformers.service import Service

CPU_BUDGET = 16_384
"""Columns decoded at once where memory cannot be asked for: some 30 rows of 512 tokens; more gain a CPU little."""
LARGEST_BUDGET = 262_144
"""A GPU's budget is what half of its free memory holds, but no more than this."""


class Session:
    def __init__(self, options: LocalModel) -> None:
        """Raises ConfigError or ModelError when the checkpoint cannot be loaded."""
        self.options = options
        self.model, self.tokenizer = load(options.checkpoint(), options.dtype, options.device, options.device_map)
        self.renderer = Renderer(self.tokenizer, options.template, options.template_options)
        self.network = Network(self.model)
        self._inside: TransformersInside | None = None
        self._threads = torch.get_num_threads()
        if options.threads:
            torch.set_num_threads(options.threads)

    def end(self) -> None:
        torch.set_num_threads(self._threads)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def service(self) -> Service:
        markers = self.options.reasoning_markers
        ending = Ending(ends(self.model, self.tokenizer), decoder(self.tokenizer, markers))
        budget = self.options.token_budget or default_budget(self.model)
        return Service(self.network, self.renderer, ending, budget, markers, lambda: self._inside)

    @cached_property
    def digest(self) -> str:
        settings = {
            "plain": self.renderer.plain,
            "template": self.renderer.template or self.tokenizer.chat_template,
            "options": self.renderer.options,
            "markers": self.options.reasoning_markers,
        }
        return content_digest(self.model, self.tokenizer, settings)

    def looked_into(self, store: Path | None = None) -> TransformersInside:
        """Made when somebody first asks for it; from then on captures can ride on what the service reads."""
        if self._inside is None:
            self._inside = TransformersInside(self.model, self.renderer, self.digest, store)
        return self._inside


def ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end an answer: those of the generation configuration, and the tokenizer's own."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*listed, tokenizer.eos_token_id) if token is not None)


def decoder(tokenizer: Any, markers: Markers) -> Callable[[Sequence[int]], str]:
    """From tokens to text without special tokens, except those that mark reasoning."""
    marks = {mark for pair in markers for mark in pair}
    hidden = {
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and token.content not in marks
    }

    def decode(tokens: Sequence[int]) -> str:
        shown = [token for token in tokens if token not in hidden]
        text: str = tokenizer.decode(shown, clean_up_tokenization_spaces=False)
        return text

    return decode


def default_budget(model: Any) -> int:
    """Columns whose attention cache takes half of the GPU memory that is free now."""
    if model.device.type != "cuda":
        return CPU_BUDGET
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    column = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    free, _ = torch.cuda.mem_get_info(model.device)
    return int(max(1, min(LARGEST_BUDGET, free // 2 // column)))
