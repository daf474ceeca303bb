"""Recognise the parts of a decoder by its structure, and by the arithmetic of what flows through them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from deepsight_core.errors import DiagnosticError
from deepsight_torch.trace import Part, Trace, depth, factors, is_sum, outermost, same

Names = tuple[str, str]


def decoder_of(model: Any) -> Any:
    """The language model of a causal or image-text model. Raises DiagnosticError for a model of another kind."""
    if getattr(model.config, "is_encoder_decoder", False) or model.get_output_embeddings() is None:
        raise DiagnosticError(f"{type(model).__name__} is not a causal language model: only decoders are looked into")
    return model.get_decoder()


def blocks_of(decoder: nn.Module) -> nn.ModuleList:
    """The list that holds most of the decoder; lists inside its blocks (experts) are smaller or come later."""
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise DiagnosticError(f"{type(decoder).__name__} has no list of decoder blocks")
    return max(lists, key=lambda blocks: sum(weight.numel() for weight in blocks.parameters()))


def check_stream(blocks: Sequence[Trace], probe: Tensor, apart: Sequence[int] = ()) -> None:
    """Raises DiagnosticError unless what leaves each block of (batch, tokens, width) is what enters the next, at all
    tokens but those `apart`."""
    together = [place for place in range(probe.shape[1]) if place not in set(apart)]
    for layer, trace in enumerate(blocks):
        shape = tuple(trace.stream_in.shape) if len(trace.calls) == 1 else None
        if shape is None or shape[:2] != tuple(probe.shape) or trace.stream_out.shape != trace.stream_in.shape:
            raise DiagnosticError(f"block {layer} does not pass on one residual stream of shape (batch, tokens, width)")
        if not torch.isfinite(trace.stream_out).all():
            raise DiagnosticError(f"block {layer} gives NaN or infinity on plain text: are the weights intact?")
        if layer and not torch.equal(blocks[layer - 1].stream_out[:, together], trace.stream_in[:, together]):
            raise DiagnosticError(f"what leaves block {layer - 1} is not what enters block {layer}")


def writers(trace: Trace, names: Names | None, config: Any, eps: float) -> tuple[Part, Part, float] | None:
    """The two parts whose outputs, scaled alike, make the difference between the block's output and input.

    Attention comes first in sequential and in parallel blocks, in every family known to transformers. `names` are
    the writers of the block before: deep in a 16-bit model, where what is written is small beside the stream's
    rounding, others might fit as well.
    """
    distinct: list[Part] = []
    for part in sorted(trace.parts, key=depth):  # of equals, the outermost
        if part.output.numel() == trace.stream_in.numel() and not any(same(part.output, p.output) for p in distinct):
            distinct.append(part)
    distinct.sort(key=trace.parts.index)
    fits = []
    for attention, mlp in combinations(distinct, 2):
        one, other = (part.output.reshape(trace.stream_in.shape) for part in (attention, mlp))
        for scale in factors(one + other, trace.stream_out - trace.stream_in, config):
            if is_sum(trace.stream_out, terms := (trace.stream_in, scale * one, scale * other), eps):
                error = float((trace.stream_out - sum(terms)).norm())
                fits.append(((attention.name, mlp.name) != names, error, (attention, mlp, scale)))
                break
    return min(fits, key=lambda fit: fit[:2])[2] if fits else None


def projection(parts: Sequence[Part], writer: Part) -> Part | None:
    """The linear layer that gives what `writer` writes, or what the writer (a norm of its own) takes in."""
    linear = [part for part in parts if hasattr(part.module, "in_features") or isinstance(part.module, Conv1D)]
    for wanted in (writer.output, writer.input):
        if found := [part for part in linear if same(part.output, wanted)]:
            return outermost(found)  # of an adapted layer, the one that holds base and adapter
    return None


def embedding_scale(embedded: Tensor, stream: Tensor, config: Any, eps: float) -> float:
    """By what the embeddings are multiplied before the first block; 1 where positions are added to them."""
    if embedded.shape != stream.shape:
        return 1.0
    return next((scale for scale in factors(embedded, stream, config) if is_sum(stream, (scale * embedded,), eps)), 1.0)
