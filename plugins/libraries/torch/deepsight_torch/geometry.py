"""The shape of an opened model, measured at its sites rather than read from names that differ by family."""

from __future__ import annotations

from typing import Any

from deepsight_core.inside import Geometry
from deepsight_torch.sites import Sites


def geometry(config: Any, sites: Sites) -> Geometry:
    """Widths are 0 where the model lacks the site (neurons of a mixture of experts)."""
    text = config.get_text_config()
    return Geometry(
        layers=len(sites.blocks),
        width=sites.taps["resid_out", 0].width,
        heads=sites.heads,
        head_width=_width(sites, "head") // max(sites.heads, 1),
        neurons=_width(sites, "neuron"),
        vocabulary=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None),
        family=text.model_type,
        dtype=str(sites.dtype).removeprefix("torch."),
    )


def _width(sites: Sites, kind: str) -> int:
    return max((sites.tap(kind, layer).width for layer in sites.layers(kind)), default=0)
