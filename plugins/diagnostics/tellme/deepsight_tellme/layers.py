"""One site measured: each quantity with its null under shuffled classes and its interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Site
from deepsight_tellme.classes import Classes, Ints
from deepsight_tellme.measures import (
    centred_products,
    energies,
    energy,
    euclidean,
    indicators,
    rate_reduction,
    recentred,
)
from deepsight_tellme.spectra import Floats, effective_rank

NORMAL = 1.96
"""Half of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, and what it is under shuffled classes."""

    value: float
    error: float
    null: Floats

    @property
    def excess(self) -> float:
        """What shuffled classes do not give."""
        return self.value - float(self.null.mean())

    @property
    def standard(self) -> float:
        """The excess in standard deviations of the null, in which sites compare: nulls differ from layer to layer."""
        return self.excess / self._unit

    @property
    def standard_null(self) -> Floats:
        return np.asarray((self.null - self.null.mean()) / self._unit)

    @property
    def _unit(self) -> float:
        return float(self.null.std()) or 1.0


@dataclass(frozen=True)
class Layer:
    """What was measured at one site."""

    site: Site
    rate: Estimate
    energy: Estimate
    ranks: tuple[float | None, ...]
    """Effective rank of each class, from equally many rows of each."""


@dataclass(frozen=True)
class Layout:
    """Shuffled classes and left-out clusters, drawn once for all sites."""

    classes: Classes
    shuffled: tuple[Ints, ...]
    kept: tuple[NDArray[np.int64], ...]
    """Rows of each jackknife replicate: all clusters but one part of them."""
    equal: tuple[NDArray[np.int64], ...]
    """Equally many rows of each class."""


def layout(classes: Classes, permutations: int, parts: int, seed: int) -> Layout:
    """`parts` of the clusters are left out in turn; classes are shuffled over clusters (`shuffled_kinds`)."""
    rng = np.random.default_rng(seed)
    count = int(classes.groups.max()) + 1
    part = rng.permutation(count) % min(parts, count)
    least = int(classes.counts.min())
    return Layout(
        classes,
        tuple(shuffled_kinds(classes, permutations, seed)),
        tuple(np.flatnonzero(part[classes.groups] != number) for number in range(min(parts, count))),
        tuple(
            np.sort(rng.permutation(np.flatnonzero(classes.kind == number))[:least])
            for number in range(len(classes.names))
        ),
    )


def shuffled_kinds(classes: Classes, count: int, seed: int) -> list[Ints]:
    """Labellings that are as likely where classes have nothing to do with the rows: classes move within clusters that
    hold several, and between clusters of equal size that hold one."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(classes.groups == group) for group in range(int(classes.groups.max()) + 1)]
    pure: dict[int, list[NDArray[np.int64]]] = {}
    mixed = []
    for rows in members:
        if len(np.unique(classes.kind[rows])) > 1:
            mixed.append(rows)
        else:
            pure.setdefault(len(rows), []).append(rows)
    drawn = []
    for _ in range(count):
        kind = classes.kind.copy()
        for rows in mixed:
            kind[rows] = rng.permutation(classes.kind[rows])
        for alike in pure.values():
            given = rng.permutation([classes.kind[rows[0]] for rows in alike])
            for rows, label in zip(alike, given, strict=True):
                kind[rows] = label
        drawn.append(kind)
    return drawn


def measure(site: Site, x: NDArray[np.float32], plan: Layout) -> Layer:
    """All quantities of rows x, shape (rows, width). Raises DiagnosticError where all rows are the same."""
    kind, groups = plan.classes.kind, plan.classes.groups
    products = centred_products(x)
    if np.trace(products) <= 1e-12 * float(np.square(x, dtype=np.float64).sum()):
        raise DiagnosticError(
            f"all samples have the same activations at layer {site.layer} ({site.position}): there is no spread to "
            "measure by; check that the texts differ"
        )
    distances = euclidean(products)
    members = indicators(plan.shuffled, len(plan.classes.names))
    apart = Estimate(
        energy(distances, kind, groups),
        jackknife(lambda rows: energy(distances[np.ix_(rows, rows)], kind[rows], groups[rows]), plan),
        energies(distances, members, groups),
    )
    return Layer(site, _rate(products, plan), apart, tuple(effective_rank(x[rows]) for rows in plan.equal))


def length_control(tokens: Floats, plan: Layout) -> Estimate:
    """The energy coefficient of token counts, shape (rows,), instead of activations."""
    kind, groups = plan.classes.kind, plan.classes.groups
    distances = np.abs(tokens[:, None] - tokens)
    return Estimate(
        energy(distances, kind, groups),
        jackknife(lambda rows: energy(distances[np.ix_(rows, rows)], kind[rows], groups[rows]), plan),
        energies(distances, indicators(plan.shuffled, len(plan.classes.names)), groups),
    )


def beyond(x: NDArray[np.float32], tokens: Floats, plan: Layout) -> Estimate:
    """The rate reduction that remains when every activation is regressed on the number of tokens."""
    line = tokens - tokens.mean()
    line /= np.linalg.norm(line)
    rows = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    return _rate(centred_products(rows - np.outer(line, line @ rows)), plan)


def _rate(products: Floats, plan: Layout) -> Estimate:
    kind = plan.classes.kind
    return Estimate(
        rate_reduction(products, kind),
        jackknife(lambda rows: rate_reduction(recentred(products[np.ix_(rows, rows)]), kind[rows]), plan),
        np.array([rate_reduction(products, other) for other in plan.shuffled]),
    )


def jackknife(statistic: Callable[[NDArray[np.int64]], float], plan: Layout) -> float:
    """Standard error by leaving out parts of the clusters in turn (Efron and Stein 1981).

    A bootstrap draws rows twice, which coding rates take for a smaller spread.
    """
    values = np.array([statistic(rows) for rows in plan.kept])
    count = len(values)
    return float(np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum()))
