"""One layer measured: every quantity with its bootstrap draws and, for the separation, its null."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Site
from deepsight_core.statistics import Interval, percentile_interval
from deepsight_x_boundary.classes import HARMFUL
from deepsight_x_boundary.geometry import Floats, Layout, silhouettes, squared_distances, without
from deepsight_x_boundary.published import Published, published


@dataclass(frozen=True)
class Estimate:
    """A value and the same under bootstrap weights."""

    value: float
    draws: Floats

    @property
    def interval(self) -> Interval:
        return percentile_interval(self.draws)


@dataclass(frozen=True)
class Layer:
    """What was measured at one site."""

    site: Site
    separation: Estimate
    null: Floats
    """The separation under shuffled labels."""
    beyond_length: Estimate | None
    """The separation with token counts regressed out; None where they are unknown."""
    boundary: Estimate
    """The boundary position: NaN in draws without a gap, and everywhere where there is no boundary class."""
    silhouette: Estimate
    raw: Published


def measure(site: Site, x: NDArray[np.float32], lengths: Floats | None, layout: Layout) -> Layer:
    """All quantities of one layer; x has shape (rows, width), lengths are token counts.

    Raises DiagnosticError where all rows of both classes are the same: nothing can be scaled by their spread.
    """
    distances = squared_distances(x)
    seen, drawn = layout.observed(distances), layout.resampled(distances)
    if np.isnan(seen.separation[0]):
        raise DiagnosticError(
            f"all samples of a class have the same activations at layer {site.layer} ({site.position}): there is no "
            "spread to measure by; check that the prompts differ"
        )
    two = layout.two
    each = silhouettes(distances[np.ix_(two, two)], layout.kind[two] == HARMFUL)
    weights = layout.weights[:, two]
    return Layer(
        site=site,
        separation=Estimate(float(seen.separation[0]), drawn.separation),
        null=layout.shuffled(distances).separation,
        beyond_length=None if lengths is None else _separation(without(distances, lengths), layout),
        boundary=Estimate(float(seen.boundary[0]), drawn.boundary),
        silhouette=Estimate(float(each.mean()), weights @ each / weights.sum(axis=1)),
        raw=published(x, layout.kind),
    )


def _separation(distances: Floats, layout: Layout) -> Estimate:
    return Estimate(float(layout.observed(distances).separation[0]), layout.resampled(distances).separation)
