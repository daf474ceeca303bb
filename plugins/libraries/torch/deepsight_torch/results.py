"""What one pass gave: a row a text where somebody wants rows, and moments where somebody wants moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepsight_core.inside import Array, ClassMoments, Prompt, Want
from deepsight_torch.moments import Accumulator
from deepsight_torch.streams import Layers, Pass, Row, Stream


class Results:
    """Room for one pass over some prompts. Rows are put in in any order. `moments` has the accumulators of passes over
    other prompts; those that it lacks are added."""

    def __init__(self, one: Pass, prompts: Sequence[Prompt], moments: dict[Want, Accumulator]) -> None:
        self.streams, self.prompts = one.streams, prompts
        self._arrays = [_room(stream, len(prompts)) for stream in one.streams]
        self._ragged: list[dict[int, Array]] = [{} for _ in one.streams]
        self._moments: list[tuple[int, slice | list[int], str, Accumulator]] = []
        for want in one.wants:
            if isinstance(want.collect, ClassMoments):
                stream = one.streams[number := one.stream(want)]
                chosen, layers = _chosen(want, stream.layers)
                into = moments.setdefault(want, Accumulator((len(layers), *stream.shape[1:])))
                self._moments.append((number, chosen, want.collect.by, into))

    @property
    def kept(self) -> bool:
        """Whether every row that was put in can be had again."""
        return all(stream.kept for stream in self.streams)

    def put(self, row: Row, arrays: Sequence[Array]) -> None:
        """Takes a row's arrays, by stream, of shape (layers, positions, width)."""
        for number, array in enumerate(arrays):
            if (room := self._arrays[number]) is not None:
                for prompt in row.prompts:
                    room[prompt] = array
            elif self.streams[number].kept:
                self._ragged[number].update(dict.fromkeys(row.prompts, array))
        for number, chosen, by, into in self._moments:
            into.add(arrays[number][chosen], [self.prompts[prompt].labels.get(by) for prompt in row.prompts])

    def get(self, row: Row) -> list[Array]:
        """What was put in, where rows are kept."""
        first = row.prompts[0]
        return [
            room[first] if room is not None else ragged[first]
            for room, ragged in zip(self._arrays, self._ragged, strict=True)
        ]

    def stacked(self, want: Want, number: int) -> Array:
        """(prompts, layers, positions, width) for a want, where positions do not vary in number."""
        room = self._arrays[number]
        assert room is not None
        chosen, _ = _chosen(want, self.streams[number].layers)
        return room if isinstance(chosen, slice) else room.take(chosen, axis=1)

    def each(self, want: Want, number: int) -> tuple[Array, ...]:
        """(layers, positions, width) of each prompt, where they do."""
        chosen, _ = _chosen(want, self.streams[number].layers)
        return tuple(self._ragged[number][prompt][chosen] for prompt in range(len(self.prompts)))


def _room(stream: Stream, prompts: int) -> Array | None:
    if not stream.kept or stream.positions is None:
        return None
    return np.empty((prompts, *stream.shape), np.float32)


def _chosen(want: Want, layers: Layers) -> tuple[slice | list[int], Layers]:
    """The layers of one want among those of its stream, in the order in which it names them."""
    if want.layers is None or layers == (None,) or want.layers == layers:
        return slice(None), layers
    return [layers.index(layer) for layer in want.layers], want.layers
