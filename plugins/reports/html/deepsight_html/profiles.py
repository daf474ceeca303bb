"""Findings as drawings: layer profiles with their controls, and internal scores by verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from deepsight_core import profiles as grouping
from deepsight_core.display import finite
from deepsight_core.protocol import Diagnosis, Finding, Site
from deepsight_html.figures import Panel, Swarm, panel, swarm
from deepsight_html.samples import Standing
from deepsight_html.scales import domain


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
    """A figure for every quantity that was measured at more than one layer of some place."""
    return tuple(_drawn(profile) for profile in grouping.profiles(findings))


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


def _drawn(profile: grouping.Profile) -> Profile:
    y = domain(chain.from_iterable(one.values() for one in profile.panels))
    first, last = profile.layers
    panels = (panel(one.title, one.series, one.references, y, (float(first), float(last))) for one in profile.panels)
    return Profile(profile.name, profile.unit, tuple(panels))
