"""The small language that names cohorts: `label:harmful & verdict:complied`.

    selector  name of a cohort (below), or pieces joined by " & ": all of them must hold
    piece     label:NAME           the data say that it is so (not false, not 0, not empty)
              label:NAME=VALUE     the data say this value; letters' case does not matter
              verdict:LABEL        the judge gave this label

A VALUE may itself hold " & ", since a piece begins with "label:" or "verdict:".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deepsight_core.errors import ConfigError
from deepsight_core.protocol import Label

COHORTS: Mapping[str, str] = {
    "jailbroken": "label:harmful & verdict:complied",
    "over-refused": "label:harmful=false & verdict:refused",
    "rightly-refused": "label:harmful & verdict:refused",
    "rightly-answered": "label:harmful=false & verdict:complied",
}
"""Names for what is asked for most often, and what they stand for."""


@dataclass(frozen=True)
class Piece:
    """One condition."""

    what: str
    """Where to look: `verdict`, or `label:NAME`."""
    wanted: str | None = None
    """The value that it must have; None for any that counts as true."""

    def holds(self, value: Label | None) -> bool:
        """Never for what is unknown."""
        if value is None:
            return False
        if self.wanted is None:
            return bool(value)
        return str(value).lower() == self.wanted.lower()


def pieces(selector: str) -> tuple[Piece, ...]:
    """The conditions of a selector. Raises ConfigError that names the piece at fault."""
    found = tuple(_piece(part.strip(), selector) for part in re.split(r" & (?=label:|verdict:)", _spelt_out(selector)))
    for number, piece in enumerate(found):
        for other in found[:number]:
            if other.what == piece.what:
                raise ConfigError(f"selector {selector!r} asks twice for {piece.what!r}; every piece needs its own")
    return found


def _spelt_out(selector: str) -> str:
    return COHORTS.get(selector.strip(), selector)


def _piece(part: str, selector: str) -> Piece:
    source, _, rest = part.partition(":")
    name, has_value, value = rest.partition("=")
    within = "" if part == selector else f" in {selector!r}"
    if source == "verdict" and rest.strip():
        return Piece("verdict", _whole(rest, part, within))
    if source == "label" and name.strip() and (value.strip() or not has_value):
        return Piece(f"label:{_whole(name, part, within)}", value.strip() or None)
    raise ConfigError(
        f"unknown selector {part!r}{within}: write 'label:NAME' or 'label:NAME=VALUE' (what the data say), "
        f"'verdict:LABEL', several joined by ' & ', or one of {', '.join(COHORTS)}"
    )


def _whole(name: str, part: str, within: str) -> str:
    """A name as it stands: one with & in it is a conjunction whose next piece is none."""
    before, joined, after = name.partition("&")
    if joined:
        raise ConfigError(
            f"in the selector {part!r}{within}, {after.strip()!r} after '&' is no piece: "
            f"begin it with 'label:' or 'verdict:', and put a space on either side of '&'"
        )
    return before.strip()
