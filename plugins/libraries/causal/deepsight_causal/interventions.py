"""The two edits that test a direction: take it out of all that is written, or add it at one layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deepsight_core.edits import Ablate, Add, Edit
from deepsight_core.wants import SiteKind

WRITERS: tuple[tuple[SiteKind, tuple[int, ...] | None], ...] = (
    ("resid_in", (0,)),
    ("attn_out", None),
    ("mlp_out", None),
)
"""All that writes the residual stream: what enters the first block (positions and norms after the embeddings included),
and what every layer adds."""


def directional_ablation(directions: NDArray[np.floating], dose: float | Mapping[str, float] = 1.0) -> tuple[Edit, ...]:
    """No layer can write along the directions, of shape (width,) or (k, width): Arditi et al. 2024, eq. 4.

    `dose` is the proportion that is taken out, for all prompts or by prompt id.
    """
    return tuple(Ablate(directions, site=site, layers=layers, dose=dose) for site, layers in WRITERS)


def addition(vector: NDArray[np.floating], layer: int, dose: float | Mapping[str, float] = 1.0) -> tuple[Edit, ...]:
    """`dose` times the vector is added to what enters one block, at every token: Arditi et al. 2024, eq. 3."""
    return (Add(vector, site="resid_in", layers=(layer,), dose=dose),)
