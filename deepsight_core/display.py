"""What every display of a run agrees on: hostile characters are spelt out, what is no number is not drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite

_UNSEEN = [
    *(code for code in range(0x20) if chr(code) not in "\t\n\r"),
    *range(0x7F, 0xA0),
    0x061C,  # marks, embeddings, overrides and isolates of text direction
    *range(0x200E, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
    *range(0xD800, 0xE000),  # lone surrogates, which UTF-8 cannot hold
    *range(0xE0000, 0xE0080),  # tag characters, which smuggle instructions into prompts
]
_SHOWN = {code: f"⟨U+{code:04X}⟩" for code in _UNSEEN}


def visible(text: str) -> str:
    """The text with control characters spelt out: they could disguise what a model was told or said."""
    return text.translate(_SHOWN)


def finite(value: float | None) -> float | None:
    """None for what cannot be drawn or written as a number."""
    return value if value is not None and isfinite(value) else None


def ranked(names: Iterable[str], most: int) -> dict[str, int]:
    """Which of `most` colours, shapes or dashes each name gets: the commonest first; those beyond share the last."""
    order = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return {name: min(place, most - 1) for place, (name, _) in enumerate(order)}


def legend(places: Mapping[str, int]) -> list[tuple[str, int]]:
    """A name for each place that `ranked` gave: the name itself, or '3 others' where several share the last one."""
    counted = Counter(places.values())
    alone = [(name, place) for name, place in places.items() if counted[place] == 1]
    return alone + [(f"{count} others", place) for place, count in counted.items() if count > 1]
