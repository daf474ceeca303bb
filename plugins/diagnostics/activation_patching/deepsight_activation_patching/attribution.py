"""Attribution patching: what every patch would do, estimated from one forward and one backward pass a prompt.

To first order a patch changes the score by (a_H - a_S) . grad_S, a_H and a_S the activations of a harmful prompt and of
its harmless twin, grad_S the gradient of the twin's score (Nanda 2023; Kramar et al. 2024, arXiv:2403.00745, eq. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens
from deepsight_causal.pairs import Twins
from numpy.typing import NDArray

from deepsight_activation_patching.patching import Place
from deepsight_core.inside import Acts, All, Array, Inside, Last, Want

Floats = NDArray[np.float64]

CHUNK = 8
"""Pairs whose activations at all tokens are held at a time."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimated changes of the harmless twin's score, and the activations at the last token that they rest on."""

    stream: Floats
    """(pairs, layers, positions): the residual stream after each block, at the last few tokens."""
    earlier: Floats | None
    """(pairs, layers): all tokens before these together; NaN for pairs whose twins differ in length, and None where all
    do."""
    components: tuple[Place, ...]
    """Every head and every MLP."""
    effects: Floats
    """(pairs, components), at the last token."""
    layers: tuple[int, ...]
    acts: Acts
    """Of both twins at the last tokens; `at` reads them."""
    wants: dict[str, Want]

    def at(self, place: Place, ids: Sequence[str]) -> Array:
        """What the prompts have at a place at their last token: (prompts, width)."""
        want = self.wants[place.site]
        found: Array = self.acts[want][self.acts.rows(ids), self.acts.layers[want].index(place.layer), -1]
        return found


def attribute(inside: Inside, pairs: Sequence[Twins], tokens: RefusalTokens, positions: int) -> Estimates:
    """Estimates at the residual stream, the heads and the MLPs of all layers."""
    wants = {
        "resid_out": Want(positions=Last(k=positions)),
        "mlp_out": Want(site="mlp_out"),
        "head": Want(site="head"),
    }
    harmful, harmless = [pair.positive for pair in pairs], [pair.negative for pair in pairs]
    acts = inside.run(list(wants.values()), [*harmful, *harmless])
    slopes = inside.gradients(list(wants.values()), harmless, tokens.ids)
    products = {
        site: (acts[want][: len(pairs)].astype(np.float64) - acts[want][len(pairs) :]) * slopes[want]
        for site, want in wants.items()
    }
    mlps, heads = products["mlp_out"][:, :, -1].sum(-1), products["head"][:, :, -1]
    heads = heads.reshape(*heads.shape[:2], inside.geometry.heads, -1).sum(-1)
    layers = {site: [layer or 0 for layer in acts.layers[want]] for site, want in wants.items()}
    components = [Place("mlp_out", layer) for layer in layers["mlp_out"]]
    components += [Place("head", layer, head) for layer in layers["head"] for head in range(heads.shape[2])]
    return Estimates(
        stream=products["resid_out"].sum(-1),
        earlier=_earlier(inside, pairs, tokens, positions),
        components=tuple(components),
        effects=np.concatenate([mlps, heads.reshape(len(pairs), -1)], axis=1),
        layers=tuple(layers["resid_out"]),
        acts=acts,
        wants=wants,
    )


def _earlier(inside: Inside, pairs: Sequence[Twins], tokens: RefusalTokens, positions: int) -> Floats | None:
    """Of twins of one length, whose tokens are aligned from the first on."""
    want = Want(positions=All())
    sums = np.full((len(pairs), inside.geometry.layers), np.nan)
    sizes = [len(inside.read(want, [twin])[0]) for pair in pairs for twin in (pair.positive, pair.negative)]
    alike = [n for n in range(len(pairs)) if sizes[2 * n] == sizes[2 * n + 1] > positions]
    for start in range(0, len(alike), CHUNK):
        chunk = alike[start : start + CHUNK]
        harmful, harmless = [pairs[n].positive for n in chunk], [pairs[n].negative for n in chunk]
        acts = inside.run([want], [*harmful, *harmless]).each(want)
        slopes = inside.gradients([want], harmless, tokens.ids).each(want)
        for place, n in enumerate(chunk):
            product = (acts[place].astype(np.float64) - acts[len(chunk) + place]) * slopes[place]
            sums[n] = product[:, :-positions].sum((1, 2))
    return sums if alike else None
