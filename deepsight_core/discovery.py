"""What is installed, read from metadata alone: no plugin is imported, nor pluggy, nor pydantic.

A distribution offers components by entry points in the group `deepsight`, named `kind.name`; the value is the module to
import when somebody asks for one. Summary and tags come from the distribution's own metadata.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from configparser import ConfigParser, Error as ConfigParserError
from dataclasses import dataclass, field
from email.parser import HeaderParser
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, distributions

GROUP = "deepsight"
KINDS = ("dataset", "model", "judge", "metric", "diagnostic", "reporter", "observer")
LOAD = "DEEPSIGHT_LOAD_PLUGINS"
BLOCK = "DEEPSIGHT_BLOCK_PLUGINS"


@dataclass(frozen=True)
class Offer:
    """One component that a distribution says it has."""

    kind: str
    name: str
    module: str
    distribution: str
    version: str
    summary: str = ""
    tags: tuple[str, ...] = ()
    blocked: bool = False

    @property
    def address(self) -> str:
        return f"{self.kind}.{self.name}"

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Fault:
    """A distribution whose metadata cannot be used, and why."""

    distribution: str
    cause: str


@dataclass(frozen=True)
class Catalogue:
    """Everything that is installed."""

    offers: tuple[Offer, ...] = ()
    faults: tuple[Fault, ...] = ()
    conflicts: dict[str, tuple[Offer, ...]] = field(default_factory=dict)
    """Address to the distributions that all claim it."""

    def find(self, kind: str, name: str) -> tuple[Offer, ...]:
        return tuple(offer for offer in self.offers if (offer.kind, offer.name) == (kind, name))


def discover() -> Catalogue:
    """Read every distribution's metadata once; one that is broken hides no other."""
    offers: list[Offer] = []
    faults: list[Fault] = []
    for distribution in _unique(distributions()):
        try:
            text = distribution.read_text("entry_points.txt")
            if text and f"[{GROUP}]" in text:
                offers.extend(_offers(distribution, text))
        except Exception as error:  # a stranger's metadata may fail in any way, and must not hide the rest
            faults.append(Fault(_label(distribution), f"its metadata cannot be read: {error}"))
    offers.sort(key=lambda offer: (KINDS.index(offer.kind) if offer.kind in KINDS else 99, offer.name))
    faults.extend(
        Fault(offer.distribution, f"offers {offer.address!r}, but there is no kind {offer.kind!r}")
        for offer in offers
        if offer.kind not in KINDS
    )
    known = tuple(offer for offer in offers if offer.kind in KINDS)
    return Catalogue(known, tuple(faults), _conflicts(known))


def _unique(found: Iterable[Distribution]) -> Iterator[Distribution]:
    """The first of each name on sys.path, as import itself would have it (an editable install beside a wheel)."""
    seen: set[str] = set()
    for distribution in found:
        key = _label(distribution)
        if key not in seen:
            seen.add(key)
            yield distribution


def _label(distribution: Distribution) -> str:
    """A distribution's normalised name, taken from its folder: reading METADATA of all that is installed is slow."""
    path = getattr(distribution, "_path", None)
    stem = re.sub(r"(-[^-]+)?\.(dist-info|egg-info)$", "", path.name) if path is not None else str(distribution.name)
    return _normalised(stem)


def _normalised(name: str) -> str:
    """As package indexes compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _offers(distribution: Distribution, entry_points: str) -> Iterator[Offer]:
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names are case-sensitive
    try:
        parser.read_string(entry_points)
    except ConfigParserError as error:
        raise ValueError(f"entry_points.txt is malformed: {error}") from error
    head = (distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "").partition("\n\n")[0]
    if not head:
        raise ValueError("METADATA is missing; it is half removed (reinstall or uninstall it)")
    metadata = HeaderParser().parsestr(head)
    name, version = metadata["Name"] or _label(distribution), metadata["Version"] or "?"
    tags = tuple(tag.strip() for tag in re.split(r"[,\n]", metadata["Keywords"] or "") if tag.strip())
    for address, module in parser[GROUP].items():
        kind, _, component = address.partition(".")
        imported = re.match(r"[\w.]*", module.strip())  # without an attribute or extras
        offer = Offer(kind, component, imported[0] if imported else "", name, version, metadata["Summary"] or "", tags)
        yield Offer(**{**offer.__dict__, "blocked": _blocked(offer)})


def _blocked(offer: Offer) -> bool:
    """Whether the load list leaves it out (an empty one leaves out everything) or the block list names it."""
    allowed = os.environ.get(LOAD)
    if allowed is not None and not _listed(offer, allowed):
        return True
    return _listed(offer, os.environ.get(BLOCK, ""))


def _listed(offer: Offer, patterns: str) -> bool:
    """Whether a comma-separated list of distributions or addresses, `*` allowed, names the offer."""
    return any(
        fnmatchcase(offer.address, pattern) or fnmatchcase(_normalised(offer.distribution), _normalised(pattern))
        for pattern in map(str.strip, patterns.split(","))
        if pattern
    )


def _conflicts(offers: Iterable[Offer]) -> dict[str, tuple[Offer, ...]]:
    claims: dict[str, list[Offer]] = {}
    for offer in offers:
        if not offer.blocked:
            claims.setdefault(offer.address, []).append(offer)
    return {address: tuple(claim) for address, claim in claims.items() if len(claim) > 1}
