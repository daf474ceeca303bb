"""The tuned lens: an affine map for each layer, from a file, before the final norm and the head (Belrose et al. 2023,
arXiv:2303.08112)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from deepsight_causal import RefusalTokens
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from deepsight_core.edits import Patch
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Geometry, Inside, Keep, Last, Lens, Prompt, Want
from deepsight_logit_lens.reading import Seen, seen

Floats = NDArray[np.floating]


def translators(path: Path, geometry: Geometry) -> dict[int, tuple[Floats, Floats]]:
    """Weight and bias by layer: tensors `LAYER.weight`, (width, width), and `LAYER.bias`, (width,), of a safetensors
    file. Raises DiagnosticError where the file cannot be read, a tensor is missing, or one does not fit the model."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DiagnosticError(f"the maps of the tuned lens cannot be read from {path}: {error}") from None
    layers = sorted({name.partition(".")[0] for name in tensors})
    found = {}
    for name in layers:
        if not name.isdigit() or int(name) >= geometry.layers:
            raise DiagnosticError(f"{path} has maps for {name!r}: the model has layers 0 to {geometry.layers - 1}")
        found[int(name)] = _fitting(tensors, name, geometry.width, path)
    if not found:
        raise DiagnosticError(f"{path} holds no maps: give tensors 'LAYER.weight' and 'LAYER.bias'")
    return found


def read_tuned(
    inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens, maps: Mapping[int, tuple[Floats, Floats]]
) -> Seen:
    """As `reading.read`, at the mapped layers: x + weight x + bias in place of what leaves the last block."""
    layers = tuple(sorted(maps))
    states = Want(site="resid_out", layers=layers, positions=Last(), reduce=Keep())
    x = inside.run([states], prompts)[states][:, :, 0]
    mapped = [x[:, n] + x[:, n] @ maps[layer][0].T + maps[layer][1] for n, layer in enumerate(layers)]
    last = Want(site="final", positions=Last(), reduce=Lens(tokens=tokens.ids))
    read = []
    for column in mapped:
        source = {prompt.id: column[row][None, None] for row, prompt in enumerate(prompts)}
        patch = Patch(source, site="resid_out", layers=(inside.geometry.layers - 1,), positions=Last())
        read.append(inside.run([last], prompts, [patch])[last][:, 0, 0])
    return seen(np.stack(read, axis=1), layers)


def _fitting(tensors: Mapping[str, Floats], layer: str, width: int, path: Path) -> tuple[Floats, Floats]:
    found = []
    for name, shape in ((f"{layer}.weight", (width, width)), (f"{layer}.bias", (width,))):
        if name not in tensors:
            raise DiagnosticError(f"{path} lacks {name!r}: a layer needs a weight and a bias")
        if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            raise DiagnosticError(
                f"{name!r} in {path} has shape {tensors[name].shape}, or holds NaN; finite numbers of shape {shape} fit"
            )
        found.append(tensors[name].astype(np.float32))
    weight, bias = found
    return weight, bias
