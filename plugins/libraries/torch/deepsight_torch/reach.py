"""Which rows and tokens of a forward pass an edit reaches, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepsight_core.edits import Dose, Scope, Units


class Reach(Protocol):
    """What a change needs to know of the pass it is made in. Tensors are (rows, tokens, width), or broadcast to it."""

    def shaped(self, tensor: Tensor, width: int) -> Tensor:
        """What passes through a module, as (rows, tokens, width)."""

    def mask(self, scope: Scope, x: Tensor) -> Tensor | None:
        """True at the tokens that are reached: (rows, tokens, 1); None for all of them."""

    def numbers(self, dose: Dose, absent: float, x: Tensor) -> Tensor | float:
        """The dose of each row, (rows, 1, 1), or of all; `absent` for rows that are not named."""

    def chosen(self, units: Units, count: int, x: Tensor) -> Tensor:
        """True at the units that are reached: (rows, 1, count), or (1, 1, count) where all rows have the same."""

    def columns(self, tokens: Mapping[str, Sequence[int]]) -> list[tuple[int, str, list[int]]]:
        """Where tokens, by prompt id, lie in this pass: row, id, and columns, which may lie outside it."""


class BatchReach:
    """The rows of one batch, whose prompts, and whose tokens' places, are known."""

    def __init__(
        self, ids: Sequence[str], starts: Sequence[int], lengths: Sequence[int], answers: Sequence[int]
    ) -> None:
        self.ids, self.starts = ids, starts
        self._bounds = {
            "all": [(0, length) for length in lengths],
            "prompt": [(0, min(pair)) for pair in zip(lengths, answers, strict=True)],
            "answer": list(zip(answers, lengths, strict=True)),
        }
        self._masks: dict[tuple[str, int, torch.device], Tensor] = {}
        self._made: dict[tuple[int, float, torch.dtype, torch.device], Tensor] = {}
        """Doses and units, by their identity and what else they depend on: many layers have the same."""

    def shaped(self, tensor: Tensor, width: int) -> Tensor:
        return tensor.reshape(len(self.ids), -1, width)

    def mask(self, scope: Scope, x: Tensor) -> Tensor:
        key = (scope, x.shape[1], x.device)
        if key not in self._masks:
            edges = [
                (start + low, start + high) for start, (low, high) in zip(self.starts, self._bounds[scope], strict=True)
            ]
            low, high = torch.tensor(edges, device=x.device).T[:, :, None]
            places = torch.arange(x.shape[1], device=x.device)
            self._masks[key] = ((places >= low) & (places < high))[..., None]
        return self._masks[key]

    def numbers(self, dose: Dose, absent: float, x: Tensor) -> Tensor | float:
        if not isinstance(dose, Mapping):
            return float(dose)
        key = (id(dose), absent, x.dtype, x.device)
        if key not in self._made:
            doses = [dose.get(name, absent) for name in self.ids]
            self._made[key] = torch.tensor(doses, dtype=x.dtype, device=x.device)[:, None, None]
        return self._made[key]

    def chosen(self, units: Units, count: int, x: Tensor) -> Tensor:
        key = (id(units), count, torch.bool, x.device)
        if key not in self._made:
            rows = [units.get(name, ()) for name in self.ids] if isinstance(units, Mapping) else [units]
            self._made[key] = _marked(rows, count, x)
        return self._made[key]

    def columns(self, tokens: Mapping[str, Sequence[int]]) -> list[tuple[int, str, list[int]]]:
        return [
            (row, id, [start + token for token in tokens[id]])
            for row, (id, start) in enumerate(zip(self.ids, self.starts, strict=True))
            if id in tokens
        ]


class UniformReach:
    """Any rows, of which nothing is known but how many columns the pass has: one is a token of the answer that is
    being written, more are a prompt that is being read."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def shaped(self, tensor: Tensor, width: int) -> Tensor:
        return tensor.reshape(-1, self._columns, width)

    def mask(self, scope: Scope, x: Tensor) -> Tensor | None:
        if scope == "all":
            return None
        reached = (scope == "prompt") == (self._columns > 1)
        return None if reached else torch.zeros((1, 1, 1), dtype=torch.bool, device=x.device)

    def numbers(self, dose: Dose, absent: float, x: Tensor) -> float:
        assert not isinstance(dose, Mapping)
        return float(dose)

    def chosen(self, units: Units, count: int, x: Tensor) -> Tensor:
        assert not isinstance(units, Mapping)
        return _marked([units], count, x)

    def columns(self, tokens: Mapping[str, Sequence[int]]) -> list[tuple[int, str, list[int]]]:
        return []


def _marked(rows: Sequence[Sequence[int]], count: int, x: Tensor) -> Tensor:
    marked = torch.zeros((len(rows), 1, count), dtype=torch.bool)
    for row, units in enumerate(rows):
        marked[row, 0, list(units)] = True
    return marked.to(x.device)
