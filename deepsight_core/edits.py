"""Changes to a model's activations while it runs: value objects, composable, exactly undone.

Sites that can be edited: `embed`, `resid_in`, `resid_mid`, `resid_out`, `attn_out`, `mlp_out`, `head`, `neuron`,
`final`; experts by `Scale` at `router`. A number that may differ between the rows of one batch is given by prompt id,
so that all coefficients of a dose-response curve, or all heads of a layer, run side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepsight_core.wants import Last, Positions, SiteKind

Floats = NDArray[np.floating]
Dose = float | Mapping[str, float]
"""One number for all rows, or one by prompt id (0 for ids that are not named: those rows stay as they are)."""
Units = tuple[int, ...] | Mapping[str, tuple[int, ...]]
"""Heads, neurons or experts: the same for all rows, or by prompt id (none for ids that are not named)."""
Scope = Literal["all", "prompt", "answer"]
"""Which tokens: all; those that the model was given; those that it wrote (of an exchange: the answer's). In a run
without an answer, "prompt" is everything."""


@dataclass(frozen=True, eq=False)
class Add:
    """x + dose * vector."""

    vector: Floats
    """Shape (width,), or (layers, width) for a vector of its own in each of `layers`."""
    site: SiteKind = "resid_out"
    layers: tuple[int, ...] | None = None
    """None for all that have the site."""
    dose: Dose = 1.0
    scope: Scope = "all"


@dataclass(frozen=True, eq=False)
class Ablate:
    """Takes a subspace out of x, in the proportion `dose`: x - dose * Q Qᵀ (x - towards), Q an orthonormal basis.

    At `resid_in` of layer 0 and at `attn_out` and `mlp_out` of all layers, which together write the residual stream of
    a text, this is directional ablation (Arditi et al. 2024, arXiv:2406.11717, eq. 4).
    """

    directions: Floats
    """Shape (width,) or (k, width): one direction, or k that need not be orthonormal."""
    site: SiteKind = "resid_out"
    layers: tuple[int, ...] | None = None
    towards: Floats | None = None
    """Shape (width,): what the subspace's coordinates are set to (a mean, for mean ablation); None for 0."""
    dose: Dose = 1.0
    scope: Scope = "all"


@dataclass(frozen=True, eq=False)
class Scale:
    """Multiplies x, or the named units of it, by a factor; 0 silences them.

    Units are heads at the site `head`, coordinates at `neuron` and elsewhere, and experts at `router`, where their
    contribution to the block is scaled while routing stays as it is.
    """

    factor: float | Mapping[str, float] = 0.0
    """By prompt id: 1 for ids that are not named."""
    site: SiteKind = "head"
    layers: tuple[int, ...] | None = None
    units: Units | None = None
    """None for all of them."""
    towards: Floats | None = None
    """Shape (width,): where a factor of 0 leads (a mean, for mean ablation); None for 0."""
    scope: Scope = "all"


@dataclass(frozen=True, eq=False)
class Patch:
    """Puts activations of another text in place of x."""

    source: Mapping[str, Floats]
    """By prompt id: shape (layers, positions, width), as captured; rows without one stay as they are."""
    site: SiteKind = "resid_out"
    layers: tuple[int, ...] | None = None
    positions: Positions = field(default_factory=Last)
    """Where to put them; as many positions as the source has."""
    units: tuple[int, ...] | None = None
    """Heads or coordinates to patch; None for all."""


Edit = Add | Ablate | Scale | Patch
