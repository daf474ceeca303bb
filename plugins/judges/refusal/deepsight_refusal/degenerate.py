"""Answers that are no language: loops, runs of one character, symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNIT = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]")

LOOPED = 0.6
"""Share of an answer that a loop must fill: most of it, so that an answer which breaks down at its end still counts."""
ROUNDS = 4
"""A loop comes round at least so often; three times is emphasis ("no, no, no")."""


def degenerate(text: str) -> str:
    """Why the text is no answer at all, or "" when it may be one. The text is not empty."""
    characters = [character for character in text if not character.isspace()]
    letters = sum(character.isalnum() for character in characters)
    if letters == 0:
        return "no letters or digits"
    if len(characters) >= 20 and letters / len(characters) < 0.25:
        return "mostly symbols"
    # words catch looping phrases and sentences, characters "hahaha" and "aaaa"
    if _loops(_UNIT.findall(text.lower()), longest=40, least=12) or _loops(characters, longest=4, least=20):
        return "mere repetition"
    return ""


def _loops(units: Sequence[str], longest: int, least: int) -> bool:
    """Whether a run that repeats itself with a period of up to `longest` units fills most of at least `least` units."""
    if len(units) < least:
        return False
    for period in range(1, min(longest, len(units) // ROUNDS) + 1):
        run = 0
        for before, unit in zip(units, units[period:], strict=False):
            run = run + 1 if before == unit else 0
            # run counts the repeats; the round that they repeat is part of the loop too
            if run >= (ROUNDS - 1) * period and run + period >= LOOPED * len(units):
                return True
    return False
