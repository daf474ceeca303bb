"""Keeps secrets out of everything that is written or shown: values of environment variables that look like one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

_LOOKS_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS(WORD|WD)?$|PASSWORD|CREDENTIAL|(^|_)PAT$|(^|_)AUTH$", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
_SHORTEST = 8  # shorter values would blot out ordinary text
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
MASK = "[secret]"


def secret_values() -> tuple[str, ...]:
    """The values to hide, longest first, as they are and as JSON would escape them."""
    values = set(_environment())
    escaped = {json.dumps(value, ensure_ascii=False)[1:-1] for value in values}
    return tuple(sorted(values | escaped, key=len, reverse=True))


def scrub(text: str, values: tuple[str, ...] | None = None) -> str:
    """The text with every secret masked."""
    for value in secret_values() if values is None else values:
        if value in text:
            text = text.replace(value, MASK)
    return text


def scrub_json(text: str, values: tuple[str, ...] | None = None) -> str:
    """JSON with every secret masked inside its strings: a number that looks like one stays a number."""
    values = secret_values() if values is None else values
    if not any(value in text for value in values):
        return text
    return _JSON_STRING.sub(lambda found: f'"{scrub(found[0][1:-1], values)}"', text)


def _environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if _LOOKS_SECRET.search(name) and len(value) >= _SHORTEST:
            yield value
        yield from _PASSWORD_IN_ADDRESS.findall(value)
