"""From weights to what can be named: neurons and heads that hold the most coupled weights, and kinds of matrices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepsight_core.weights import Importance, Matrix
from deepsight_spin.overlap import Bools


@dataclass(frozen=True, order=True)
class Unit:
    """A neuron or head; of experts, `owner` and `expert` say whose."""

    layer: int
    kind: Literal["head", "neuron"]
    number: int
    owner: str
    expert: int | None


def counted(importance: Importance, chosen: Sequence[Bools]) -> Counter[Unit]:
    """How many of the chosen entries each unit holds, over all matrices that it has a part in."""
    found: Counter[Unit] = Counter()
    for matrix, places, mask in zip(importance.matrices, importance.indices, chosen, strict=True):
        if matrix.units is not None and mask.any():
            numbers, counts = np.unique(matrix.unit_numbers(places[mask]), return_counts=True)
            for number, count in zip(numbers, counts, strict=True):
                unit = Unit(matrix.layer, matrix.units.kind, int(number), matrix.units.owner, matrix.expert)
                found[unit] += int(count)
    return found


def kind(matrix: Matrix) -> str:
    """What matrices in the same place of different blocks share: the name within the block."""
    _, _, within = re.sub(r"\.weight$", "", matrix.name).partition(f".{matrix.layer}.")
    return within or matrix.name
