"""Find the places that can be looked at in a transformers decoder by what flows through them, not by their names.

A few tokens are sent through the model once, and every place is recognised by the arithmetic that it must satisfy, so
that a site which was found is a site that is proved:

    resid_out[l] == resid_in[l + 1]                                     the blocks
    resid_in + s * (attn_out + mlp_out) == resid_out                    what is added to the residual stream
    attn_out (or what its norm takes in) is the output of a projection  its input: the heads, side by side
    mlp_out (likewise)                                                  its input: the neurons
    resid_in + attn_out is what some part takes in                      resid_mid; parallel blocks have none
    what takes in the last resid_out and gives what the head takes in   the final norm
    what the head gives, scaled and capped, are the logits
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from deepsight_core.errors import DiagnosticError
from deepsight_torch.forward import decode, prefix_cache, repeated
from deepsight_torch.tensors import evaluating, first, first_input
from deepsight_torch.trace import Part, Trace, depth, factors, is_sum, kept, outermost, rounding, same

DRIFT = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Relative difference from which padding or a prefix counts as changing the result; 0.1 for 16-bit types."""


@dataclass(frozen=True)
class Tap:
    """One side of one module; `scale` turns what passes there into the site's value."""

    module: nn.Module
    side: Literal["in", "out"]
    width: int
    scale: float = 1.0

    def register(self, hook: Any) -> RemovableHandle:
        """Call `hook(tensor)` with what passes, whenever it passes."""
        if self.side == "in":
            return self.module.register_forward_pre_hook(
                lambda module, args, kwargs: hook(first_input(args, kwargs)), with_kwargs=True
            )
        return self.module.register_forward_hook(lambda module, args, output: hook(first(output)))


Place = tuple[str, int | None]
Names = tuple[str, str]


class Sites:
    """The sites of one model. Raises DiagnosticError when not even its residual stream can be found."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        """`ids`: some ordinary tokens for the self-check, at least 6; it reads at most 12 of them."""
        self.model = model.get_base_model() if hasattr(model, "peft_config") else model
        self.decoder = _decoder(self.model)
        self.blocks = _blocks(self.decoder)
        self.taps: dict[Place, Tap] = {}
        self.absent: dict[Place, str] = {}
        """Why a site is missing."""
        probe = torch.tensor([list(ids)[:12]], device=self.device)
        with evaluating(self.model):
            last = self._discover(probe)
            self.needs_mask = self._needs_mask(probe, last)
            self.shares_prefix = not self.needs_mask and self._shares_prefix(probe, last)

    @property
    def device(self) -> torch.device:
        """Where token ids go: beside the embeddings, or to the CPU where those are offloaded."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    def layers(self, kind: str) -> tuple[int | None, ...]:
        """The layers that have this site; (None,) for a site without layers, () for one that the model lacks."""
        return tuple(layer for found, layer in self.taps if found == kind)

    def tap(self, kind: str, layer: int | None) -> Tap:
        """Raises DiagnosticError, with the reason, for a layer out of range or a site that is absent."""
        if tap := self.taps.get((kind, layer)):
            return tap
        if layer is not None and not 0 <= layer < len(self.blocks):
            raise DiagnosticError(f"layer {layer} is out of range: this model has blocks 0 to {len(self.blocks) - 1}")
        where = kind if layer is None else f"{kind}[{layer}]"
        raise DiagnosticError(f"this model has no site {where}: {self.absent.get((kind, layer), 'unknown site')}")

    def reason(self, kind: str) -> str:
        """Why no layer has this site."""
        return next((reason for (absent, _), reason in self.absent.items() if absent == kind), "unknown site")

    def _discover(self, probe: Tensor) -> Tensor:
        blocks = [Trace(block) for block in self.blocks]
        inner = {id(module) for block in self.blocks for module in block.modules()}
        outside = Trace(self.model, [(n, m) for n, m in self.model.named_modules() if n and id(m) not in inner])
        with ExitStack() as stack:
            for trace in (*blocks, outside):
                stack.enter_context(trace)
            logits = first(self.model(input_ids=probe, use_cache=False).logits)
        _check_stream(blocks, probe)
        eps = rounding(self.dtype)
        embedding = self.model.get_input_embeddings()
        embedded = next(part.output for part in outside.parts if part.module is embedding)
        width = blocks[0].stream_in.shape[-1]
        self._add(
            "embed",
            None,
            embedding,
            "out",
            embedded.shape[-1],
            _embedding_scale(embedded, blocks[0].stream_in, self.model.config, eps),
        )
        names: Names | None = None
        for layer, trace in enumerate(blocks):
            self._add("resid_in", layer, trace.module, "in", width)
            names = self._inspect(layer, trace, names) or names
            self._add("resid_out", layer, trace.module, "out", width)
        last = blocks[-1].stream_out
        self._inspect_head(outside, last, logits)
        return last

    def _inspect(self, layer: int, trace: Trace, names: Names | None) -> Names | None:
        """The sites within one block; returns the names of its two writers, to be tried first in the next block."""
        found = _writers(trace, names, self.model.config, rounding(self.dtype))
        if found is None:
            reason = "the block's output is not its input plus what two of its parts return"
            for kind in ("resid_mid", "attn_out", "mlp_out", "head", "neuron"):
                self.absent[kind, layer] = reason
            return None
        attention, mlp, scale = found
        width = trace.stream_in.shape[-1]
        middle = (trace.stream_in, scale * attention.output.reshape(trace.stream_in.shape))
        between = [part for part in trace.parts if is_sum(part.input, middle, rounding(self.dtype))]
        heads = _projection(trace.parts, attention)
        if heads and (not self.heads or heads.input.shape[-1] % self.heads):
            heads = None
        neurons = _projection(trace.parts, mlp)
        # In the order in which they pass, so that `taps` lists a block's sites from its input to its output.
        if heads:
            self._add("head", layer, heads.module, "in", heads.input.shape[-1])
        else:
            self.absent["head", layer] = f"no projection of {self.heads} heads gives what attention returns"
        self._add("attn_out", layer, attention.module, "out", width, scale)
        if between:
            self._add("resid_mid", layer, outermost(between).module, "in", width)
        else:
            self.absent["resid_mid", layer] = "attention and MLP write in parallel"
        if neurons:
            self._add("neuron", layer, neurons.module, "in", neurons.input.shape[-1])
        else:
            self.absent["neuron", layer] = "no single projection gives what the MLP returns (a mixture of experts?)"
        self._add("mlp_out", layer, mlp.module, "out", width, scale)
        return attention.name, mlp.name

    def _inspect_head(self, outside: Trace, last: Tensor, logits: Tensor | None) -> None:
        head = next((part for part in outside.parts if part.module is self.model.get_output_embeddings()), None)
        if head is None or logits is None or not _logits_follow(head, logits, self.model.config):
            self.absent["logits", None] = "what the head gives, scaled and capped as configured, is not the logits"
        for part in outside.parts:
            if head and part is not head and same(part.input, last) and same(part.output, head.input):
                self._add("final", None, part.module, "out", part.output.shape[-1])
                return
        self.absent["final", None] = "no part takes in what leaves the last block and gives what the head takes in"

    @property
    def heads(self) -> int:
        """Attention heads; 0 in a model without attention."""
        return getattr(self.model.config.get_text_config(), "num_attention_heads", 0)

    def _add(
        self,
        kind: str,
        layer: int | None,
        module: nn.Module,
        side: Literal["in", "out"],
        width: int,
        scale: float = 1.0,
    ) -> None:
        self.taps[kind, layer] = Tap(module, side, width, scale)

    def _needs_mask(self, probe: Tensor, expected: Tensor) -> bool:
        """Whether tokens to the right change what stands to their left, unless they are masked."""
        padded = torch.cat([probe, probe[:, :1].expand(-1, 3)], dim=1)
        return self._differs(expected, self._last(padded)[:, : probe.shape[1]])

    def _shares_prefix(self, probe: Tensor, expected: Tensor) -> bool:
        """Whether reading a shared beginning once, and then what follows in a batch, changes nothing."""
        start = probe.shape[1] // 2
        cache = prefix_cache(self.model.config)
        try:
            decode(self.decoder, probe[:, :start], cache=cache)
            rest = self._last(probe[:, start:].repeat(2, 1), cache=repeated(cache, 2))
        except Exception:  # a cache of some family that cannot be repeated: then every text is read whole
            return False
        return not self._differs(expected[:, start:].expand(2, -1, -1), rest)

    def _last(self, ids: Tensor, cache: Any = None) -> Tensor:
        seen: list[Tensor] = []
        handle = self.tap("resid_out", len(self.blocks) - 1).register(lambda tensor: seen.append(kept(tensor)))
        try:
            decode(self.decoder, ids, cache=cache)
        finally:
            handle.remove()
        return seen[0]

    def _differs(self, expected: Tensor, found: Tensor) -> bool:
        return float((found - expected).norm() / expected.norm()) > DRIFT.get(self.dtype, 0.1)


def _decoder(model: Any) -> Any:
    if getattr(model.config, "is_encoder_decoder", False) or model.get_output_embeddings() is None:
        raise DiagnosticError(f"{type(model).__name__} is not a causal language model: only decoders are looked into")
    return model.get_decoder()


def _blocks(decoder: nn.Module) -> nn.ModuleList:
    """The list that holds most of the decoder; lists inside its blocks (experts) are smaller or come later."""
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise DiagnosticError(f"{type(decoder).__name__} has no list of decoder blocks")
    return max(lists, key=lambda blocks: sum(weight.numel() for weight in blocks.parameters()))


def _check_stream(blocks: Sequence[Trace], probe: Tensor) -> None:
    for layer, trace in enumerate(blocks):
        shape = tuple(trace.stream_in.shape) if len(trace.calls) == 1 else None
        if shape is None or shape[:2] != tuple(probe.shape) or trace.stream_out.shape != trace.stream_in.shape:
            raise DiagnosticError(f"block {layer} does not pass on one residual stream of shape (batch, tokens, width)")
        if not torch.isfinite(trace.stream_out).all():
            raise DiagnosticError(f"block {layer} gives NaN or infinity on plain text: are the weights intact?")
        if layer and not torch.equal(blocks[layer - 1].stream_out, trace.stream_in):
            raise DiagnosticError(f"what leaves block {layer - 1} is not what enters block {layer}")


def _writers(trace: Trace, names: Names | None, config: Any, eps: float) -> tuple[Part, Part, float] | None:
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


def _projection(parts: Sequence[Part], writer: Part) -> Part | None:
    """The linear layer that gives what `writer` writes, or what the writer (a norm of its own) takes in."""
    linear = [part for part in parts if hasattr(part.module, "in_features") or isinstance(part.module, Conv1D)]
    for wanted in (writer.output, writer.input):
        if found := [part for part in linear if same(part.output, wanted)]:
            return outermost(found)  # of an adapted layer, the one that holds base and adapter
    return None


def _logits_follow(head: Part, logits: Tensor, config: Any) -> bool:
    """Whether what the head gives, scaled and capped, is what the model returns."""
    text = config.get_text_config()
    raw, found = head.output, kept(logits)
    cap = getattr(text, "final_logit_softcapping", None)
    shaped = [torch.tanh(raw / cap) * cap] if cap else [scale * raw for scale in factors(raw, found, config)]
    return any(torch.allclose(logits, found, rtol=2e-2, atol=1e-2) for logits in shaped)


def _embedding_scale(embedded: Tensor, stream: Tensor, config: Any, eps: float) -> float:
    """By what the embeddings are multiplied before the first block; 1 where positions are added to them."""
    if embedded.shape != stream.shape:
        return 1.0
    return next((scale for scale in factors(embedded, stream, config) if is_sum(stream, (scale * embedded,), eps)), 1.0)
