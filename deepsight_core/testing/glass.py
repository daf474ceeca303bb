"""A model of glass: it answers like the scripted one and shows made-up activations with a direction planted in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepsight_core.components import Capability
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, Array, Geometry, Inside, Last, Prompt, Want
from deepsight_core.protocol import short_hash
from deepsight_core.testing.fakes import ScriptedModel

GEOMETRY = Geometry(layers=4, width=16, heads=2, head_width=8, neurons=32, vocabulary=100, context=64, family="glass")
PLANTED_FROM = 2


class GlassModel(ScriptedModel):
    """A scripted model that can be looked into."""

    name = "glass"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"text", "loglikelihood", "whitebox"})
    planted: tuple[str, ...] = ()
    """Ids of prompts that are shifted along the first coordinate, from layer 2 on."""
    strength: float = 5.0

    def inside(self, store: Path | None = None) -> Inside:
        return GlassInside(frozenset(self.planted), self.strength)


class GlassInside:
    """Standard normal activations that depend on nothing but the prompt's id, site, layer and position."""

    geometry = GEOMETRY

    def __init__(self, planted: frozenset[str] = frozenset(), strength: float = 5.0) -> None:
        self.planted, self.strength = planted, strength
        self.passes = 0
        """How often `run` was called."""

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Acts:
        self.passes += 1
        layers = {want: self._layers(want) for want in wants}
        return Acts(
            ids=tuple(prompt.id for prompt in prompts),
            arrays={want: self._array(want, layers[want], prompts) for want in wants},
            layers=layers,
            lengths={want.text: np.array([len(p.messages[-1].text.split()) for p in prompts]) for want in wants},
            error=0.0,
            captured={"computed": len(prompts)},
        )

    @contextmanager
    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Iterator[None]:
        for want in wants:
            self._layers(want)
        yield

    def _layers(self, want: Want) -> tuple[int | None, ...]:
        if want.site in ("embed", "final"):
            return (None,)
        chosen = tuple(range(GEOMETRY.layers)) if want.layers is None else want.layers
        for layer in chosen:
            if not 0 <= layer < GEOMETRY.layers:
                raise DiagnosticError(f"layer {layer} is out of range: the model has layers 0 to {GEOMETRY.layers - 1}")
        return chosen

    def _array(self, want: Want, layers: Sequence[int | None], prompts: Sequence[Prompt]) -> Array:
        count = want.positions.k if isinstance(want.positions, Last) else 1
        array = np.empty((len(prompts), len(layers), count, GEOMETRY.width), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            for column, layer in enumerate(layers):
                name = f"{prompt.id}/{want.site}/{layer}/{want.positions.type}"
                array[row, column] = np.random.default_rng(short_hash(name)).normal(size=(count, GEOMETRY.width))
                if prompt.id in self.planted and layer is not None and layer >= PLANTED_FROM:
                    array[row, column, :, 0] += self.strength
        return array
