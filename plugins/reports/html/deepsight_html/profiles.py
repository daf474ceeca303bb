"""Which findings belong into one figure: layer profiles with their controls, and internal scores by verdict."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from deepsight_core.protocol import Diagnosis, Finding, Site
from deepsight_html.figures import (
    Panel,
    Point,
    Reference,
    Series,
    Swarm,
    domain,
    panel,
    profile_values,
    swarm,
)
from deepsight_html.samples import Standing
from deepsight_html.text import finite

Place = tuple[str, str]
"""Kind of site and position: what one panel shows."""
Quantity = tuple[str, str]
"""Name and unit."""


@dataclass(frozen=True)
class Profile:
    """One quantity over layers: a panel for each place in the network, on shared axes."""

    name: str
    unit: str
    panels: tuple[Panel, ...]


def site_name(site: Site | None) -> str:
    """'resid_out 12, last' as one reads it in a table; empty without a site."""
    if site is None:
        return ""
    numbers = ((word, value) for word, value in (("head", site.head), ("unit", site.unit)) if value is not None)
    place = f"{site.kind} {site.layer}" if site.layer is not None else site.kind
    return ", ".join([place, *(f"{word} {value}" for word, value in numbers), *filter(None, [site.position])])


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


def swarms(diagnosis: Diagnosis, standings: Sequence[Standing]) -> tuple[Swarm, ...]:
    """Each numeric column of the diagnosis's table, by what is known and what was judged of the samples."""
    columns: dict[str, dict[str, list[float]]] = {}
    for standing in standings:
        for name, value in diagnosis.table.get(standing.id, {}).items():
            if not isinstance(value, str) and (known := finite(value)) is not None:
                columns.setdefault(name, defaultdict(list))[_group(standing)].append(known)
    return tuple(swarm(name, sorted(groups.items())) for name, groups in columns.items())


def _group(standing: Standing) -> str:
    kind = {True: "harmful · ", False: "harmless · ", None: ""}[standing.harmful]
    return f"{kind}{standing.verdict}"


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
    drawn = {
        place: (
            [
                Series(name, tuple(points[layer] for layer in sorted(points)), styles[name])
                for name, points in named.items()
            ],
            [
                Reference(control.name, value, *_range(control), style)
                for style, control in enumerate(controls)
                if (value := finite(control.value)) is not None and _applies(control, place)
            ],
        )
        for place, named in places.items()
    }
    y = domain(chain.from_iterable(profile_values(*one) for one in drawn.values()))
    layers = [point.layer for series, _ in drawn.values() for one in series for point in one.points]
    span = float(min(layers)), float(max(layers))
    panels = (panel(", ".join(filter(None, place)), *one, y, span) for place, one in drawn.items())
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
