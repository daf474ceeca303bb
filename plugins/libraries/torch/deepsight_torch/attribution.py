"""What each part of a model writes directly towards some tokens and away from others, at the prompt's last token.

The residual stream is a sum, and the final norm is linear once its scale is held at what it was; so a difference of
logits is a sum over the parts that wrote the stream (direct logit attribution: Elhage et al. 2021; Wang et al. 2022,
arXiv:2211.00593). Norms and readouts are found by what modules give (`frozen.py`), not by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, DirectEffects, Prompt, Want
from deepsight_core.protocol import Site
from deepsight_core.wants import SiteKind
from deepsight_torch.frozen import Frozen, called, frozen, gradient
from deepsight_torch.sites import Sites
from deepsight_torch.taps import Tap

Floats = NDArray[np.float64]
Read = Callable[[Sequence[Want], Sequence[Prompt]], Acts]

BYTES = 1 << 28
"""Of activations that are held at a time: heads and neurons of as many prompts as fit."""


@dataclass(frozen=True)
class Through:
    """How what a matrix takes in reaches the final norm: the readout of its input, and the norm on the way, if any."""

    readout: Tensor
    """(inputs,)"""
    projection: nn.Module
    norm: Frozen | None
    scale: float
    """What multiplies the writer's output before it joins the stream."""

    def effects(self, inputs: Tensor, written: Tensor) -> Tensor:
        """Each input's effect (prompts, inputs), the final norm's scale aside. `written` joined the stream."""
        effects = self.scale * inputs * self.readout
        if self.norm is None:
            return effects
        return self.norm.scales(called(self.projection, inputs), written / self.scale)[:, None] * effects


class Attribution:
    """The algebra of one model and one difference of tokens.

    Raises DiagnosticError where the model has no final norm of a known form, blocks whose parts do not add up, or
    tokens outside the vocabulary.
    """

    def __init__(self, sites: Sites, positive: Sequence[int], negative: Sequence[int]) -> None:
        self.sites, self.positive, self.negative = sites, list(positive), list(negative)
        _check_tokens(sites, positive, negative)
        self.layers = tuple(range(len(sites.blocks)))
        for layer in self.layers:
            sites.tap("attn_out", layer), sites.tap("mlp_out", layer)
        last = sites.tap("final", None)
        norm = frozen(last.module, last.width)
        if norm is None:
            raise DiagnosticError("the final norm of this model is neither an RMS norm nor a layer norm")
        self.norm = norm
        readout, of_head = gradient(sites.unembedding.head, last.width, self._difference)
        self.constant = of_head + float(norm.bias @ readout)
        """What the biases of the final norm and of the head contribute."""
        self.readout = norm.carried(readout)
        self.absent: dict[str, str] = {}
        self.heads = self._ways("head", "attn_out")
        self.neurons = self._ways("neuron", "mlp_out")

    def effects(
        self, read: Read, prompts: Sequence[Prompt], weights: Floats, top: int, neurons: Sequence[Site]
    ) -> DirectEffects:
        """One pass, in chunks of prompts; see `deepsight_core.inside.Inside.direct`."""
        if not prompts:
            raise DiagnosticError("there are no prompts whose logits could be attributed")
        self._check_neurons(neurons)
        wants = self._wants(bool(top or neurons))
        means = {layer: torch.zeros(len(way.readout), dtype=torch.float64) for layer, way in self.neurons.items()}
        columns, totals = [], []
        size = max(1, BYTES // (4 * sum(len(want.layers or (0,)) * self._width(want) for want in wants)))
        for start in range(0, len(prompts), size):
            acts = read(wants, prompts[start : start + size])
            seen: dict[str, Tensor] = {want.site: torch.from_numpy(acts[want][:, :, 0]) for want in wants}
            scales = self.norm.scales(_one(seen["resid_out"], 0), _one(seen["final"], 0))
            parts = [*self._written(seen), *self._headwise(seen)]
            share = torch.from_numpy(weights[start : start + size]) * scales
            for layer, effects in self._neuronwise(seen):
                means[layer] += share @ effects
                parts += [effects[:, [site.unit or 0]] for site in neurons if site.layer == layer]
            columns.append((scales[:, None] * torch.cat(parts, dim=1)).numpy())
            totals.append(self._difference(called(self.sites.unembedding.head, _one(seen["final"], 0))).numpy())
        sites = (*self._sites(), *sorted(neurons, key=lambda site: site.layer or 0))
        values, total = np.concatenate(columns), np.concatenate(totals)
        adding = [number for number, site in enumerate(sites) if site.kind in ("embed", "attn_out", "mlp_out")]
        return DirectEffects(
            ids=tuple(prompt.id for prompt in prompts),
            sites=sites,
            values=values,
            constant=self.constant,
            total=total,
            error=float(np.abs(values[:, adding].sum(axis=1) + self.constant - total).max()),
            top=tuple(_strongest(means, top)),
            absent=self.absent,
            capped=self.sites.unembedding.cap is not None,
        )

    def _wants(self, neurons: bool) -> list[Want]:
        last = self.layers[-1]
        wants = [Want(site="resid_in", layers=(0,)), Want(site="resid_out", layers=(last,)), Want(site="final")]
        ways: list[tuple[SiteKind, Sequence[int]]] = [("attn_out", self.layers), ("mlp_out", self.layers)]
        ways += [("head", tuple(self.heads)), ("neuron", tuple(self.neurons) if neurons else ())]
        return wants + [Want(site=site, layers=tuple(layers)) for site, layers in ways if layers]

    def _width(self, want: Want) -> int:
        return self.sites.tap(want.site, want.layers[0] if want.layers else None).width

    def _written(self, seen: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """(prompts, parts): what the embedding, attention and MLPs wrote, the final norm's scale aside."""
        for site in ("resid_in", "attn_out", "mlp_out"):
            yield seen[site].double() @ self.readout

    def _headwise(self, seen: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """(prompts, heads), layer by layer."""
        for number, (layer, way) in enumerate(self.heads.items()):
            effects = way.effects(_one(seen["head"], number), _one(seen["attn_out"], layer))
            yield effects.reshape(len(effects), self.sites.heads, -1).sum(-1)

    def _neuronwise(self, seen: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(prompts, neurons), layer by layer, where neurons were looked at."""
        for number, (layer, way) in enumerate(self.neurons.items() if "neuron" in seen else ()):
            yield layer, way.effects(_one(seen["neuron"], number), _one(seen["mlp_out"], layer))

    def promoted(self, neurons: Sequence[Site], k: int) -> list[list[int]]:
        """The tokens that each neuron raises most while its activation is positive: its output vector through the
        gains of the norms and the head."""
        self._check_neurons(neurons)
        found = []
        for site in neurons:
            way = self.neurons[site.layer or 0]
            units = torch.zeros(2, len(way.readout))
            units[0, site.unit or 0] = 1
            vector = called(way.projection, units).diff(dim=0)[0].neg()  # without the projection's bias
            vector = self.norm.unscaled(vector if way.norm is None else way.norm.unscaled(vector))
            at, base = called(self.sites.unembedding.head, torch.stack([vector, torch.zeros_like(vector)]))
            found.append((self.sites.unembedding.scale * (at - base)).topk(k).indices.tolist())
        return found

    def _sites(self) -> Iterator[Site]:
        yield Site(kind="embed")
        for kind in ("attn_out", "mlp_out"):
            yield from (Site(kind=kind, layer=layer) for layer in self.layers)
        for layer in self.heads:
            yield from (Site(kind="head", layer=layer, head=head) for head in range(self.sites.heads))

    def _ways(self, kind: SiteKind, writer: SiteKind) -> dict[int, Through]:
        """By layer: how heads or neurons reach the final norm. A layer whose writer does more with them than a norm is
        left out, with the reason."""
        ways: dict[int, Through] = {}
        for layer in self.layers:
            if (kind, layer) in self.sites.absent:
                self.absent[f"{kind}[{layer}]"] = self.sites.absent[kind, layer]
                continue
            way = self._way(self.sites.tap(kind, layer), self.sites.tap(writer, layer))
            if way is None:
                self.absent[f"{kind}[{layer}]"] = "what follows its projection is neither an RMS norm nor a layer norm"
            else:
                ways[layer] = way
        return ways

    def _way(self, projection: Tap, writer: Tap) -> Through | None:
        norm = None
        readout = self.readout
        if not _holds(writer.module, projection.module):  # a norm between the projection and the stream
            norm = frozen(writer.module, writer.width)
            if norm is None:
                return None
            readout = norm.carried(readout)
        back, _ = gradient(projection.module, projection.width, lambda out: out @ readout)
        return Through(back, projection.module, norm, writer.scale)

    def _difference(self, logits: Tensor) -> Tensor:
        raw = self.sites.unembedding.scale * logits
        return raw[..., self.positive].mean(-1) - raw[..., self.negative].mean(-1)

    def _check_neurons(self, neurons: Sequence[Site]) -> None:
        for site in neurons:
            if site.layer not in self.neurons:
                reason = self.absent.get(f"neuron[{site.layer}]", f"there are blocks 0 to {self.layers[-1]}")
                raise DiagnosticError(f"block {site.layer} has no neurons to follow: {reason}")
            if not 0 <= (site.unit or 0) < len(self.neurons[site.layer].readout):
                raise DiagnosticError(f"neuron {site.unit} of block {site.layer} is out of range")


def _strongest(means: Mapping[int, Tensor], top: int) -> Iterator[tuple[Site, float]]:
    """The neurons with the largest mean effect, whatever its sign, the largest first."""
    if not top or not means:
        return
    layers = list(means)
    sizes = [len(mean) for mean in means.values()]
    every = torch.cat(list(means.values()))
    ends = np.cumsum(sizes)
    for place in every.abs().topk(min(top, len(every))).indices.tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        unit = place - int(ends[number] - sizes[number])
        yield Site(kind="neuron", layer=layers[number], unit=unit), float(every[place])


def _holds(writer: nn.Module, projection: nn.Module) -> bool:
    """Whether the writer is the projection or the part that it ends: nothing stands between them."""
    return any(module is projection for module in writer.modules())


def _one(stack: Tensor, layer: int) -> Tensor:
    """(prompts, layers, width) -> (prompts, width) of one layer, in float64."""
    return stack[:, layer].double()


def _check_tokens(sites: Sites, positive: Sequence[int], negative: Sequence[int]) -> None:
    size = sites.model.config.get_text_config().vocab_size
    for name, tokens in (("positive", positive), ("negative", negative)):
        if not tokens or not all(0 <= token < size for token in tokens):
            raise DiagnosticError(f"the {name} tokens must be some of 0 to {size - 1}, not {list(tokens)}")
    if both := sorted({*positive} & {*negative}):
        raise DiagnosticError(f"tokens {both} are both positive and negative")
