"""What need not be computed again: rows that were ridden on generation, or stored by this or an earlier process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from deepsight_core.inside import Array
from deepsight_torch.store import Store
from deepsight_torch.streams import Layers, Pass, Row


class Known:
    """Rows of one model, found by what they depend on; `model` stands for its weights. None for no store."""

    def __init__(self, model: str, store: Store | None = None) -> None:
        self.model = model
        self._store = store
        self._ridden: dict[str, tuple[Layers, Array]] = {}
        """Key of a row and stream to its layers and array."""
        self._lock = threading.Lock()

    def remember(self, one: Pass, results: Iterable[tuple[Row, Sequence[Array]]]) -> None:
        """Hold rows that were ridden, in memory."""
        for row, arrays in results:
            keys = row.keys(one.streams, self.model)
            with self._lock:
                self._ridden.update(
                    (key, (stream.layers, array)) for key, stream, array in zip(keys, one.streams, arrays, strict=True)
                )

    def recall(self, one: Pass, row: Row, stored: bool = True) -> tuple[list[Array], str] | None:
        """A row's arrays, by stream, if all of them are known, and whence: "ridden" or "store"."""
        store = self._store if stored else None
        if not self._ridden and not store:
            return None
        arrays: list[Array] = []
        origin = "ridden"
        for key, stream in zip(row.keys(one.streams, self.model), one.streams, strict=True):
            found = None
            layers, array = self._ridden.get(key, ((), None))
            if array is not None and set(stream.layers) <= set(layers):
                found = array[[layers.index(layer) for layer in stream.layers]]
            elif store:
                found, origin = store.read(key, stream.layers), "store"
            if found is None:
                return None
            arrays.append(found)
        return arrays, origin

    def keep(self, one: Pass, rows: Mapping[Row, Sequence[Array]]) -> None:
        """Put rows into the store, if there is one."""
        if self._store:
            self._store.write(
                one.streams, {tuple(row.keys(one.streams, self.model)): arrays for row, arrays in rows.items()}
            )
