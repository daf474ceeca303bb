"""How numbers, dates and foreign text are written on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite

from deepsight_core.display import finite

MISSING = "–"
_SEEN = {"\n": "↵\n", "\r": "␍", "\t": "⇥\t"}


def seen(word: str) -> str:
    """Line ends and tabs beside a sign for them, a token of nothing but spaces as so many signs."""
    if word and not word.strip(" "):
        return "␣" * len(word)
    return "".join(_SEEN.get(letter, letter) for letter in word)


def number(value: float | None) -> str:
    """Three decimals below ten, fewer above, a power of ten for the tiny and the huge; integers as they are."""
    if value is None or not isfinite(value):
        return MISSING
    size = abs(value)
    if isinstance(value, int):
        text = f"{value:,.0f}"
    elif 0 < size < 0.001 or size >= 1e7:
        text = f"{value:.1e}"
    else:
        decimals = next((places for limit, places in ((10, 3), (100, 2), (1000, 1)) if size < limit), 0)
        text = f"{value:,.{decimals}f}"
    return text.replace("-", "−")


def span(low: float | None, high: float | None) -> str:
    """An interval in brackets; a dash when either end is unknown."""
    if finite(low) is None or finite(high) is None:
        return MISSING
    return f"[{number(low)}, {number(high)}]"


def p_value(p: float | None) -> str:
    if finite(p) is None or p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def date(text: str) -> str:
    """'23 November 2025, 21:27 UTC' from ISO 8601; the text itself where it is not a date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plain(value: object) -> str:
    """A single value as JSON or TOML would have it, without quotes."""
    if value is None:
        return MISSING
    return str(value).lower() if isinstance(value, bool) else str(value)


def flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested tables as (dotted path, value), written the way `--set` takes them."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        for place, item in enumerate(value):
            yield from flat(item, f"{path}.{place}" if path else str(place))
    elif isinstance(value, list | tuple | Mapping):
        yield path, ", ".join(plain(item) for item in value) or MISSING
    else:
        yield path, plain(value)
