"""Made-up evidence in which the truth is known: three classes, of which two part from one layer on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from deepsight_x_boundary import XBoundary

from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Array, Geometry, Want
from deepsight_core.protocol import Diagnosis, Label, Sample, user


@dataclass(frozen=True)
class World:
    """Evidence and activations; `diagnose` runs the diagnostic on both."""

    evidence: Evidence
    acts: Acts
    diagnostic: XBoundary
    geometry: Geometry

    def diagnose(self) -> Diagnosis:
        inside = SimpleNamespace(geometry=self.geometry)
        return self.diagnostic.diagnose(self.evidence, self.acts, inside)  # type: ignore[arg-type]


@pytest.fixture
def planted() -> Callable[..., World]:
    def build(
        *,
        seed: int = 0,
        harmful: int = 24,
        safe: int = 24,
        boundary: int = 0,
        layers: int = 6,
        width: int = 8,
        shift: float = 0.0,
        start: int = 0,
        place: float = 0.5,
        scale: float = 1.0,
        paired: bool = False,
        length: Callable[[int], int] = lambda number: 10 + number % 7,
        order: Callable[[int], int] = lambda number: number,
        **options: object,
    ) -> World:
        kinds = ["harmful"] * harmful + ["safe"] * safe + ["boundary"] * boundary
        numbers = sorted(range(len(kinds)), key=order)
        samples = tuple(
            Sample(
                id=f"s{number:03}",
                messages=(user("text"),),
                group=f"pair {number % harmful}" if paired else None,
                labels=_labels(kinds[number]),
            )
            for number in numbers
        )
        evidence = Evidence(samples)
        diagnostic = XBoundary.model_validate({"permutations": 99, "resamples": 100, **options})
        rng = np.random.default_rng(seed)
        axis = rng.standard_normal(width)
        axis /= np.linalg.norm(axis)
        along = np.array([{"harmful": 1.0, "safe": 0.0, "boundary": place}[kind] for kind in kinds])
        stack = rng.standard_normal((len(kinds), layers, 1, width))
        stack[:, start:, 0] += shift * along[:, None, None] * axis
        geometry = Geometry(layers, width, 1, width, width, 10)
        arrays: dict[Want, Array] = {}
        named: dict[Want, tuple[int | None, ...]] = {}
        for want in diagnostic.wants(evidence, geometry):
            chosen = want.layers if want.layers is not None else tuple(range(layers))
            arrays[want] = (scale * stack[numbers][:, list(chosen)]).astype(np.float32)
            named[want] = chosen
        counts = np.array([length(number) for number in numbers])
        acts = Acts(tuple(s.id for s in samples), arrays, named, {"prompt": counts, "exchange": counts})
        return World(evidence, acts, diagnostic, geometry)

    return build


def _labels(kind: str) -> dict[str, Label]:
    labels: dict[str, Label] = {"harmful": kind == "harmful"}
    return {**labels, "boundary": True} if kind == "boundary" else labels
