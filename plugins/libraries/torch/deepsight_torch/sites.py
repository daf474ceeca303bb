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
    (batch, heads, tokens, tokens) that sum to at most 1                attention weights, where attention is eager
    what enters, times a matrix with a row for each expert              the router
    what enters the first block at image tokens                         is what a part outside the decoder gave out
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepsight_core.errors import DiagnosticError
from deepsight_torch.attention import AttentionTap, Eager, attention_taps
from deepsight_torch.experts import Experts, find_experts
from deepsight_torch.forward import decode, forgetting
from deepsight_torch.invariance import Invariance
from deepsight_torch.pictures import Pictures
from deepsight_torch.rendering import Rendered
from deepsight_torch.structure import Names, blocks_of, check_stream, decoder_of, embedding_scale, projection, writers
from deepsight_torch.taps import Tap as Tap
from deepsight_torch.tensors import evaluating, first
from deepsight_torch.trace import Trace, is_sum, outermost, rounding, same
from deepsight_torch.unembedding import Unembedding, unembedding
from deepsight_torch.vision import look

Place = tuple[str, int | None]


class Sites:
    """The sites of one model. Raises DiagnosticError when not even its residual stream can be found."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        """`ids`: some ordinary tokens for the self-check, at least 6; it reads at most 12 of them."""
        self.model = model.get_base_model() if hasattr(model, "peft_config") else model
        self.decoder = decoder_of(self.model)
        self.blocks = blocks_of(self.decoder)
        self.taps: dict[Place, Tap] = {}
        self.absent: dict[Place, str] = {}
        """Why a site is missing."""
        for kind in ("vision", "projector"):
            self.absent[kind, None] = "no image was shown to it"
        self._experts: dict[int, Experts] = {}
        self._unembedding: Unembedding | None = None
        probe = torch.tensor([list(ids)[:12]], device=self.device)
        with evaluating(self.model):
            invariance = self._discover(probe)
            self.needs_mask = not invariance.under_padding()
            self.shares_prefix = not self.needs_mask and invariance.under_splitting()

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

    def experts(self, layer: int) -> Experts:
        """The experts of a block's mixture. Raises DiagnosticError when it has none, or they cannot be told apart."""
        if found := self._experts.get(layer):
            return found
        raise DiagnosticError(f"block {layer} of this model has no experts that could be told apart")

    def _discover(self, probe: Tensor) -> Invariance:
        blocks = [Trace(block) for block in self.blocks]
        inner = {id(module) for block in self.blocks for module in block.modules()}
        outside = Trace(self.model, [(n, m) for n, m in self.model.named_modules() if n and id(m) not in inner])
        with ExitStack() as stack:
            for trace in (*blocks, outside):
                stack.enter_context(trace)
            logits = first(self.model(input_ids=probe, use_cache=False).logits)
        check_stream(blocks, probe)
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
            embedding_scale(embedded, blocks[0].stream_in, self.model.config, eps),
        )
        last = blocks[-1].stream_out
        invariance = Invariance(self.model, self.decoder, self.blocks[-1], probe, last)
        weights = self._attention(invariance)
        names: Names | None = None
        for layer, trace in enumerate(blocks):
            self._add("resid_in", layer, trace.module, "in", width)
            names = self._inspect(layer, trace, names, weights[layer], recurrent=any(weights)) or names
            self._add("resid_out", layer, trace.module, "out", width)
        self._inspect_head(outside, last, logits)
        return invariance

    def read(
        self, ids: Tensor, mask: Tensor | None = None, cache: Any = None, pictures: Pictures | None = None
    ) -> None:
        """One forward pass through the blocks, without the head; a text with pictures is read by itself. `mask` is 1
        at real tokens; a cache is added to."""
        if pictures is None:
            decode(self.decoder, ids, mask, cache)
            return
        with forgetting(self.model.base_model):
            arguments = pictures.arguments(ids.shape[1], self.device, self.dtype)
            decode(self.model.base_model, ids, mask, cache, arguments)

    def see(self, text: Rendered, images: Sequence[int]) -> None:
        """Find where images pass, by a text with pictures of which the tokens `images` are replaced by features.

        Some models add features to the stream between blocks as well: at these tokens only, what enters a block may
        differ from what left the one before. Raises DiagnosticError where it differs elsewhere."""
        for kind in ("vision", "projector"):
            self.absent.pop((kind, None), None)
        probe = torch.tensor([text.ids], device=self.device)
        with evaluating(self.model):
            found = look(self.model, self.decoder, list(self.blocks), lambda: self.read(probe, pictures=text.pictures))
        check_stream(found.blocks, probe, images)
        for layer, tap in enumerate(found.taps):
            self.taps["vision", layer] = tap
        if not found.taps:
            self.absent["vision", None] = "no list of blocks outside the decoder hands on one stream"
        if found.enters(images):
            self._add("projector", None, self.blocks[0], "in", self.taps["resid_in", 0].width)
        else:
            self.absent["projector", None] = "what enters the first block at image tokens is not what any part gives"

    def _attention(self, invariance: Invariance) -> Sequence[AttentionTap | None]:
        """By block: where attention weights pass, in eager attention, if that gives what the model gives otherwise."""
        same: list[bool] = []
        try:
            taps = attention_taps(list(self.blocks), Eager(self.decoder), lambda: same.append(invariance.holds()))
        except Exception:  # a model that has no eager attention
            return [None] * len(self.blocks)
        return taps if all(same) else [None] * len(self.blocks)

    def _inspect(
        self, layer: int, trace: Trace, names: Names | None, weights: AttentionTap | None, recurrent: bool
    ) -> Names | None:
        """The sites within one block. A block without attention weights is taken for a recurrent one if others have
        some: `recurrent`. Returns the names of its two writers, to be tried first in the next block."""
        found = writers(trace, names, self.model.config, rounding(self.dtype))
        if found is None:
            reason = "the block's output is not its input plus what two of its parts return"
            for kind in ("resid_mid", "attn_out", "mlp_out", "head", "neuron"):
                self.absent[kind, layer] = reason
            self._inspect_attention(layer, weights)
            self._inspect_experts(layer, trace)
            return None
        attention, mlp, scale = found
        width = trace.stream_in.shape[-1]
        middle = (trace.stream_in, scale * attention.output.reshape(trace.stream_in.shape))
        between = [part for part in trace.parts if is_sum(part.input, middle, rounding(self.dtype))]
        heads = projection(trace.parts, attention)
        if heads and (not self.heads or heads.input.shape[-1] % self.heads):
            heads = None
        neurons = projection(trace.parts, mlp)
        # In the order in which they pass, so that `taps` lists a block's sites from its input to its output.
        if recurrent and weights is None:
            self.absent["head", layer] = "this block mixes tokens without attention"
        elif heads:
            self._add("head", layer, heads.module, "in", heads.input.shape[-1])
        else:
            self.absent["head", layer] = f"no projection of {self.heads} heads gives what attention returns"
        self._inspect_attention(layer, weights)
        self._add("attn_out", layer, attention.module, "out", width, scale)
        if between:
            self._add("resid_mid", layer, outermost(between).module, "in", width)
        else:
            self.absent["resid_mid", layer] = "attention and MLP write in parallel"
        self._inspect_experts(layer, trace)
        if neurons:
            self._add("neuron", layer, neurons.module, "in", neurons.input.shape[-1])
        else:
            self.absent["neuron", layer] = "no single projection gives what the MLP returns (a mixture of experts?)"
        self._add("mlp_out", layer, mlp.module, "out", width, scale)
        return attention.name, mlp.name

    def _inspect_attention(self, layer: int, weights: AttentionTap | None) -> None:
        if weights:
            self.taps["attn_prob", layer] = weights
        else:
            self.absent["attn_prob", layer] = "no part of this block returns attention weights, eager attention or not"

    def _inspect_experts(self, layer: int, trace: Trace) -> None:
        found = find_experts(trace.parts, trace.module, trace.stream_in.shape[:2].numel())
        if found:
            self._experts[layer], router = found
            if router:
                self.taps["router", layer] = router
                return
        self.absent["router", layer] = "no part of this block gives logits over experts"

    def _inspect_head(self, outside: Trace, last: Tensor, logits: Tensor | None) -> None:
        head = next((part for part in outside.parts if part.module is self.model.get_output_embeddings()), None)
        norm = None
        for part in outside.parts:
            if head and part is not head and same(part.input, last) and same(part.output, head.input):
                norm = part.module
                self._add("final", None, norm, "out", part.output.shape[-1])
                break
        else:
            self.absent["final", None] = "no part takes in what leaves the last block and gives what the head takes in"
        if head and logits is not None:
            self._unembedding = unembedding(norm, head.module, head.output, logits, self.model.config)
        if self._unembedding is None:
            self.absent["logits", None] = "what the head gives, scaled or capped as configured, is not the logits"

    def unembed(self, hidden: Tensor, normed: bool) -> Tensor:
        """Logits (..., vocabulary) in float32 of hidden states (..., width): final norm unless `normed`, head, scale,
        cap, as the model itself does. Raises DiagnosticError when the self-check could not account for its logits."""
        return self.unembedding(hidden, normed)

    @property
    def unembedding(self) -> Unembedding:
        """Final norm, head, scale and cap. Raises as `unembed` does."""
        if self._unembedding is None:
            raise DiagnosticError(f"this model has no site logits: {self.absent['logits', None]}")
        return self._unembedding

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
