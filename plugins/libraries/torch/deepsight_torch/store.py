"""Activations on disk, found again by what they depend on: a resumed run reads them, a changed one cannot.

A pass leaves `<name>.safetensors`, one tensor of shape (positions of all rows, width) for each stream and layer, and
`<name>.json`, which maps the key of each row and stream to its part of them. Both appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from deepsight_core.inside import Array
from deepsight_torch.streams import Layers, Stream


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, list[tuple[str, int, int, int]]] = {}
        """Key to (file, stream, first position, positions); several where a later pass wanted other layers."""
        self._files: dict[str, Any] = {}
        """Opened once, mapped into memory rather than read."""
        for index in sorted(folder.glob("*.json")):
            self._learn(index.stem, json.loads(index.read_text(encoding="utf-8")))

    def read(self, key: str, layers: Layers) -> Array | None:
        """(layers, positions, width), or None unless one pass saw all of these layers."""
        for name, stream, start, count in self._places.get(key, ()):
            if name not in self._files:
                self._files[name] = safe_open(self.folder / f"{name}.safetensors", framework="numpy")
            file = self._files[name]
            tensors = [f"{stream}.{layer}" for layer in layers]
            if set(tensors) <= set(file.keys()):
                return np.stack([file.get_slice(tensor)[start : start + count] for tensor in tensors])
        return None

    def write(self, streams: Sequence[Stream], rows: Mapping[tuple[str, ...], Sequence[Array]]) -> None:
        """Keep rows: their keys, by stream, to their arrays of shape (layers, positions, width)."""
        if not rows:
            return
        tensors = {
            f"{number}.{layer}": np.concatenate([arrays[number][column] for arrays in rows.values()])
            for number, stream in enumerate(streams)
            for column, layer in enumerate(stream.layers)
        }
        index = dict(_index(rows, len(streams)))
        name = hashlib.sha256(repr((sorted(index), sorted(tensors))).encode()).hexdigest()[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            save_file(tensors, Path(scratch) / "tensors")
            Path(scratch, "index").write_text(json.dumps(index), encoding="utf-8")
            Path(scratch, "tensors").replace(self.folder / f"{name}.safetensors")
            Path(scratch, "index").replace(self.folder / f"{name}.json")
        self._learn(name, index)

    def _learn(self, name: str, index: Mapping[str, Sequence[int]]) -> None:
        for key, (stream, start, count) in index.items():
            self._places.setdefault(key, []).append((name, stream, start, count))


def _index(rows: Mapping[tuple[str, ...], Sequence[Array]], streams: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Key to (stream, first position, positions), rows one after the other."""
    for number in range(streams):
        start = 0
        for keys, arrays in rows.items():
            count = arrays[number].shape[1]
            yield keys[number], (number, start, count)
            start += count
