"""Made-up direct effects for the model of glass."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from deepsight_core.inside import DirectEffects, Prompt, Token
from deepsight_core.protocol import Site, short_hash

LAYERS, HEADS, NEURONS = 4, 2, 32


def fake_effects(
    prompts: Sequence[Prompt],
    planted: Collection[str],
    strength: float,
    start: int,
    top: int,
    weights: Sequence[float] | None,
    neurons: Sequence[Site],
) -> DirectEffects:
    """Standard normal numbers that depend on nothing but the prompt's id and the site; of planted prompts, head 0 of
    layer `start`, its block's attention and neuron 0 of that layer add `strength`. Writers add up, heads do not."""
    every = [Site(kind="neuron", layer=layer, unit=unit) for layer in range(LAYERS) for unit in range(NEURONS)]
    sites = (*_sites(), *neurons)
    carriers = {
        Site(kind="attn_out", layer=start),
        Site(kind="head", layer=start, head=0),
        Site(kind="neuron", layer=start, unit=0),
    }

    def effect(prompt: Prompt, site: Site) -> float:
        random = np.random.default_rng(short_hash(f"{prompt.id}/direct/{site.model_dump_json()}"))
        return float(random.normal()) + strength * (prompt.id in planted and site in carriers)

    values = np.array([[effect(prompt, site) for site in sites] for prompt in prompts])
    shares = np.full(len(prompts), 1 / max(1, len(prompts))) if weights is None else np.asarray(weights)
    means = {site: float(shares @ [effect(prompt, site) for prompt in prompts]) for site in every} if top else {}
    adding = [number for number, site in enumerate(sites) if site.kind in ("embed", "attn_out", "mlp_out")]
    return DirectEffects(
        ids=tuple(prompt.id for prompt in prompts),
        sites=sites,
        values=values,
        constant=0.5,
        total=values[:, adding].sum(axis=1) + 0.5,
        top=tuple(sorted(means.items(), key=lambda pair: -abs(pair[1]))[:top]),
        promoted=tuple((Token("word", 0),) for _ in neurons),
    )


def _sites() -> Iterator[Site]:
    yield Site(kind="embed")
    for kind in ("attn_out", "mlp_out"):
        yield from (Site(kind=kind, layer=layer) for layer in range(LAYERS))
    for layer in range(LAYERS):
        yield from (Site(kind="head", layer=layer, head=head) for head in range(HEADS))
