"""Axes: from values to coordinates, and the round numbers that are written beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

from deepsight_core.display import finite
from deepsight_html.text import number

Span = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Linear map from values [low, high] to coordinates [start, end]; the middle when there is only one value."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def maybe(self, value: float | None) -> float | None:
        value = finite(value)
        return None if value is None else self(value)

    def span(self, low: float | None, high: float | None) -> Span | None:
        """Both ends in ascending coordinates; None when either is unknown."""
        ends = self.maybe(low), self.maybe(high)
        if ends[0] is None or ends[1] is None:
            return None
        return min(ends[0], ends[1]), max(ends[0], ends[1])


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


def step(low: float, high: float, most: int = 5) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that divides low..high into at most `most` parts."""
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def domain(values: Iterable[float | None]) -> Span:
    """All known values, widened to the next half tick; (0, 1) when there are none."""
    known = [value for item in values if (value := finite(item)) is not None]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    size = step(low, high) / 2
    return floor(low / size + 1e-9) * size, ceil(high / size - 1e-9) * size


def ticks(scale: Scale, whole: bool = False, most: int = 5) -> tuple[Tick, ...]:
    """Round values within the scale; integers only when `whole`."""
    if scale.high <= scale.low:
        return (Tick(scale(scale.low), number(int(scale.low)) if whole else number(scale.low)),)
    size = step(scale.low, scale.high, most)
    size = max(1.0, size) if whole else size
    places = max(0, -floor(log10(size) + 1e-9))
    first, last = ceil(scale.low / size - 1e-9), floor(scale.high / size + 1e-9)
    values = [index * size for index in range(first, last + 1)]
    return tuple(Tick(scale(value), f"{value:.{places}f}".replace("-", "−")) for value in values)
