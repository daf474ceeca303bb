"""Which findings belong into one figure: a quantity over layers, with the controls it is to be compared with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepsight_core.display import finite
from deepsight_core.protocol import Finding, Site

Place = tuple[str, str]
"""Kind of site and position: what one panel shows."""
Quantity = tuple[str, str]
"""Name and unit."""


@dataclass(frozen=True)
class Point:
    """A quantity at one layer; None for what is unknown, never NaN."""

    layer: int
    value: float | None
    low: float | None = None
    high: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    headline: bool = False


@dataclass(frozen=True)
class Series:
    """A line over layers."""

    name: str
    points: tuple[Point, ...]
    """In ascending order of layer."""
    style: int = 0
    """Which of a figure's colours and dashes; the same for one name in all panels."""


@dataclass(frozen=True)
class Reference:
    """A number without a layer that the series are to be compared with."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    style: int = 0


@dataclass(frozen=True)
class Panel:
    """One place in the network."""

    title: str
    series: tuple[Series, ...]
    references: tuple[Reference, ...]

    def values(self) -> Iterator[float | None]:
        """Every number that it must have room for."""
        for one in self.series:
            for point in one.points:
                yield from (point.value, point.low, point.high, point.null_low, point.null_high)
        for reference in self.references:
            yield from (reference.value, reference.low, reference.high)


@dataclass(frozen=True)
class Profile:
    """One quantity over layers: a panel for each place in the network, to be drawn on shared axes."""

    name: str
    unit: str
    panels: tuple[Panel, ...]

    @property
    def layers(self) -> tuple[int, int]:
        """The first and the last layer of any panel."""
        found = [point.layer for panel in self.panels for series in panel.series for point in series.points]
        return min(found), max(found)


def profiles(findings: Sequence[Finding]) -> tuple[Profile, ...]:
    """A figure for every quantity that was measured at more than one layer of some place.

    A quantity of the same unit whose name contains the other's ("difference-of-means auroc", "auroc") is drawn beside
    it. A control of the same unit that was not itself measured over layers becomes a horizontal line.
    """
    layers: dict[str, set[int | None]] = defaultdict(set)
    for finding in findings:
        layers[finding.name].add(_layer(finding))
    level = {finding.name for finding in findings if finding.evidence == "control" and len(layers[finding.name]) == 1}
    controls = [finding for finding in findings if finding.name in level]
    layered = [finding for finding in findings if _layer(finding) is not None and finding.name not in level]
    families: dict[Quantity, list[Finding]] = {}
    for finding in sorted(layered, key=lambda finding: len(finding.name)):
        base = next((key for key in families if _named_after(finding, key)), (finding.name, finding.unit))
        families.setdefault(base, []).append(finding)
    order = {(finding.name, finding.unit): place for place, finding in reversed(list(enumerate(layered)))}
    return tuple(
        _profile(base, families[base], [control for control in controls if _compares(control, base)])
        for base in sorted(families, key=lambda base: order[base])
        if _most_layers(families[base]) > 1
    )


def _layer(finding: Finding) -> int | None:
    """The layer of a finding about a whole layer: heads and units are places of their own."""
    site = finding.site
    return None if site is None or site.head is not None or site.unit is not None else site.layer


def _most_layers(findings: Sequence[Finding]) -> int:
    """Layers in the fullest panel: one number for each of two places is no profile."""
    layers: dict[Place, set[int | None]] = defaultdict(set)
    for finding in findings:
        layers[_place(finding.site)].add(_layer(finding))
    return max(len(found) for found in layers.values())


def _named_after(finding: Finding, base: Quantity) -> bool:
    found = re.search(rf"(?<!\w){re.escape(base[0])}(?!\w)", finding.name, re.IGNORECASE)
    return found is not None and finding.unit == base[1]


def _compares(control: Finding, base: Quantity) -> bool:
    """Whether it can stand on the same axis: a shared unit says so; where there is none, the name must."""
    return _named_after(control, base) or (bool(base[1]) and control.unit == base[1])


def _profile(base: Quantity, findings: Sequence[Finding], controls: Sequence[Finding]) -> Profile:
    places: dict[Place, dict[str, dict[int, Point]]] = {}
    for finding in findings:
        points = places.setdefault(_place(finding.site), {}).setdefault(finding.name, {})
        if (layer := _layer(finding)) is not None:
            points.setdefault(layer, _point(layer, finding))
    styles = {name: style for style, name in enumerate(dict.fromkeys(finding.name for finding in findings))}
    panels = (
        Panel(
            title=", ".join(filter(None, place)),
            series=tuple(
                Series(name, tuple(points[layer] for layer in sorted(points)), styles[name])
                for name, points in named.items()
            ),
            references=tuple(
                Reference(control.name, value, *_range(control), style)
                for style, control in enumerate(controls)
                if (value := finite(control.value)) is not None and _applies(control, place)
            ),
        )
        for place, named in places.items()
    )
    return Profile(*base, tuple(panels))


def _place(site: Site | None) -> Place:
    return (site.kind, site.position or "") if site else ("", "")


def _applies(control: Finding, place: Place) -> bool:
    """A control of the input as a whole applies everywhere, one of a position only there."""
    return control.site is None or not control.site.position or control.site.position == place[1]


def _range(control: Finding) -> tuple[float | None, float | None]:
    """Its interval; of a control that is a null itself, its band."""
    if finite(control.low) is not None and finite(control.high) is not None:
        return control.low, control.high
    return finite(control.null_low), finite(control.null_high)


def _point(layer: int, finding: Finding) -> Point:
    return Point(
        layer,
        finite(finding.value),
        finite(finding.low),
        finite(finding.high),
        finite(finding.null_low),
        finite(finding.null_high),
        finding.headline,
    )
