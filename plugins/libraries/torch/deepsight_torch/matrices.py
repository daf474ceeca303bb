"""Find the weight matrices of a decoder by structure: linear layers, and the experts that share one tensor.

Routers, norms, biases, embeddings, heads and vision towers are none. Which part of a block a matrix belongs to follows
from where the block's writers lie (`Sites`), not from names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from deepsight_core.errors import DiagnosticError
from deepsight_core.weights import Matrix, Part, Units
from deepsight_torch.sites import Sites


@dataclass(frozen=True, eq=False)
class Holder:
    """A parameter that holds one matrix, or one for each expert."""

    parameter: nn.Parameter
    matrices: tuple[Matrix, ...]
    adapter: Any = None
    """The module that adds something of low rank to this weight while it runs, if any."""

    @property
    def layer(self) -> int:
        return self.matrices[0].layer

    @property
    def weights(self) -> int:
        return self.parameter.numel()

    def value(self) -> Tensor:
        """The weights as they act, adapters included: shape (matrices, size), float32."""
        with torch.no_grad():
            return (self.parameter.detach().float() + self.added()).reshape(len(self.matrices), -1)

    def added(self) -> Tensor | float:
        """What adapters add to the parameter, of its shape."""
        layer = self.adapter
        if layer is None or layer.merged or layer.disable_adapters:
            return 0.0
        names = [name for name in layer.active_adapters if name in layer.lora_A]
        return sum((layer.get_delta_weight(name).detach().float() for name in names), start=0.0)


def holders(sites: Sites, parts: Sequence[Part], layers: Sequence[int] | None = None) -> tuple[Holder, ...]:
    """The matrices of these parts and layers (None: all), layer by layer.

    Raises DiagnosticError for a layer out of range, a block whose attention was not found, weights that have no
    gradient (quantised or offloaded), and when nothing is left.
    """
    chosen = range(len(sites.blocks)) if layers is None else sorted(set(layers))
    names = {id(module): name for name, module in sites.model.named_modules()}
    names |= {id(parameter): name for name, parameter in sites.model.named_parameters()}
    found: list[Holder] = []
    seen: set[int] = set()  # blocks may share weights
    for layer in chosen:
        sites.tap("resid_out", layer)  # says what is wrong with a layer out of range
        for holder in _Block(sites, layer, names).holders():
            if holder.matrices[0].part in parts and id(holder.parameter) not in seen:
                _require_gradient(holder)
                seen.add(id(holder.parameter))
                found.append(holder)
    if not found:
        raise DiagnosticError(f"layers {list(chosen)} have no weight matrices in {' and '.join(parts) or 'no part'}")
    return tuple(found)


class _Block:
    """The matrices of one decoder block. `names` are those of the model's modules and parameters, by id."""

    def __init__(self, sites: Sites, layer: int, names: dict[int, str]) -> None:
        self.sites, self.layer, self.names = sites, layer, names
        self.module: nn.Module = sites.blocks[layer]
        self.width = sites.tap("resid_out", layer).width
        self.attention = self._attention()

    def holders(self) -> list[Holder]:
        tensors = list(self._expert_tensors())
        experts = {holder.parameter.shape[0] for holder in tensors}
        lists = [name for name, module in self.module.named_modules() if self._holds_experts(name, module)]
        experts |= {len(self.module.get_submodule(name)) for name in lists}  # type: ignore[arg-type]
        linear = []
        for path, module, adapter in _linear_layers(self.module):
            inside = any(path.startswith(f"{name}.") for name in lists)
            outputs = module.weight.shape[_output_axis(module)]
            if self._part(path) == "mlp" and experts and not inside and outputs in {1, *experts}:
                continue  # a router, or the gate of a shared expert
            linear.append((path, module, adapter))
        if not any(self._part(path) == "attention" for path, _, _ in linear):
            raise DiagnosticError(f"no weight matrix of block {self.layer} lies in what was found to be its attention")
        neurons = self._neurons(linear)
        made = [self._linear(path, module, adapter, neurons) for path, module, adapter in linear]
        return [*made, *_with_units(tensors, self.width)]

    def _attention(self) -> str:
        """The largest part of the block that holds what attention writes with, but not what the MLP writes with."""
        own, other = (self._path(kinds) for kinds in (("head", "attn_out"), ("neuron", "mlp_out")))
        shared = 0
        while shared < min(len(own), len(other)) - 1 and own[shared] == other[shared]:
            shared += 1
        return ".".join(own[: shared + 1])

    def _path(self, kinds: Sequence[str]) -> list[str]:
        for kind in kinds:
            if tap := self.sites.taps.get((kind, self.layer)):
                name: str = next(name for name, module in self.module.named_modules() if module is tap.module)
                return name.split(".")
        self.sites.tap(kinds[-1], self.layer)
        raise AssertionError("a site that is absent raises")

    def _part(self, path: str) -> Part:
        return "attention" if f"{path}.".startswith(f"{self.attention}.") else "mlp"

    def _holds_experts(self, path: str, module: nn.Module) -> bool:
        return isinstance(module, nn.ModuleList) and len(module) > 1 and self._part(path) == "mlp"

    def _linear(self, path: str, module: Any, adapter: Any, neurons: dict[str, int]) -> Holder:
        rows, columns = module.weight.shape
        outputs = _output_axis(module)
        part = self._part(path)
        sizes = module.weight.shape[outputs], module.weight.shape[1 - outputs]
        units = self._head_units(path, module, adapter, sizes, outputs) if part == "attention" else None
        owner = path.rpartition(".")[0]
        if part == "mlp" and owner in neurons:
            name = self._owner_name(owner)
            if sizes == (self.width, neurons[owner]):
                units = Units("neuron", name, 1 - outputs)
            elif sizes == (neurons[owner], self.width):
                units = Units("neuron", name, outputs)
        matrix = Matrix(self.names[id(module.weight)], self.layer, part, (rows, columns), units=units)
        return Holder(module.weight, (matrix,), adapter)

    def _head_units(
        self, path: str, module: nn.Module, adapter: Any, sizes: tuple[int, int], outputs: int
    ) -> Units | None:
        """Columns of the output projection, and rows of whatever has as many outputs as it has inputs, beside it."""
        tap = self.sites.taps.get(("head", self.layer))
        if tap is None:
            return None
        owner = ".".join(self._path(["head"])[:-1])
        width = tap.width // self.sites.heads
        if tap.module in (module, adapter):
            return Units("head", self._owner_name(owner), 1 - outputs, width)
        if sizes == (tap.width, self.width) and path.rpartition(".")[0] == owner:
            return Units("head", self._owner_name(owner), outputs, width)
        return None

    def _neurons(self, linear: Sequence[tuple[str, Any, Any]]) -> dict[str, int]:
        """By the module that holds a down projection (from another width to the stream's): how many neurons it has."""
        found: dict[str, int] = {}
        for path, module, _ in linear:
            outputs = _output_axis(module)
            into, out = module.weight.shape[1 - outputs], module.weight.shape[outputs]
            if self._part(path) == "mlp" and out == self.width != into:
                found[path.rpartition(".")[0]] = into
        return found

    def _owner_name(self, path: str) -> str:
        """The full name of a part of this block."""
        return self.names[id(self.module.get_submodule(path))]

    def _expert_tensors(self) -> list[Holder]:
        """Parameters of three axes, expert first, one of the others as wide as the stream."""
        found = []
        for path, module in self.module.named_modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3 and parameter.shape[0] > 1 and self.width in parameter.shape[1:]:
                    part = self._part(f"{path}.{name}" if path else name)
                    rows, columns = parameter.shape[1:]
                    first = Matrix(self.names[id(parameter)], self.layer, part, (rows, columns))
                    each = (replace(first, expert=number) for number in range(parameter.shape[0]))
                    found.append(Holder(parameter, tuple(each)))
        return found


def _with_units(tensors: Sequence[Holder], width: int) -> list[Holder]:
    """Of gated experts, the down projection has columns (or rows) by neuron: half as many as the tensor beside it has.

    Which half, or which of alternate rows, of the other tensor belongs to a neuron differs between families.
    """
    out = []
    for holder in tensors:
        owner = holder.matrices[0].name.rpartition(".")[0]
        beside = [h for h in tensors if h is not holder and h.matrices[0].name.rpartition(".")[0] == owner]
        shape = holder.matrices[0].shape
        neurons = sum(shape) - width
        if neurons != width and [sorted(h.matrices[0].shape) for h in beside] == [sorted((2 * neurons, width))]:
            units = Units("neuron", owner, shape.index(neurons))
            holder = replace(holder, matrices=tuple(replace(m, units=units) for m in holder.matrices))
        out.append(holder)
    return out


def _linear_layers(block: nn.Module) -> list[tuple[str, Any, Any]]:
    """Path, module and adapter of each linear layer; what an adapter consists of is no matrix of the model."""
    found: list[tuple[str, Any, Any]] = []
    adapted: list[str] = []
    for path, module in block.named_modules():
        if any(path.startswith(f"{outer}.") for outer in adapted):
            continue
        base = getattr(module, "base_layer", None)
        inner = module if base is None else base
        if not (isinstance(inner, Conv1D) or hasattr(inner, "in_features")):
            continue
        if base is not None:
            adapted.append(path)
            if not hasattr(module, "lora_A"):
                raise DiagnosticError(f"{path} is adapted by {type(module).__name__}: merge the adapter first")
        if not isinstance(getattr(inner, "weight", None), nn.Parameter):
            raise DiagnosticError(f"{path} ({type(inner).__name__}) is quantised: {_LOAD_PLAIN}")
        found.append((path, inner, None if base is None else module))
    return found


_LOAD_PLAIN = "its weights have no gradient; load the model in bfloat16 or float32"


def _require_gradient(holder: Holder) -> None:
    parameter, name = holder.parameter, holder.matrices[0].name
    if parameter.device.type == "meta":
        raise DiagnosticError(f"{name} is offloaded: weights must be in memory to have gradients")
    plain = type(parameter.data) is Tensor
    if not (plain and parameter.is_floating_point() and parameter.element_size() > 1):
        raise DiagnosticError(f"{name} is quantised ({parameter.dtype}): {_LOAD_PLAIN}")


def _output_axis(module: nn.Module) -> int:
    return 1 if isinstance(module, Conv1D) else 0
