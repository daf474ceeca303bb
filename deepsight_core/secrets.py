"""Keeps secrets out of everything that is written or shown: values of environment variables that look like one."""

from __future__ import annotations

import json
import os
import re

_LOOKS_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
_SHORTEST = 8  # shorter values would blot out ordinary text
MASK = "[secret]"


def secret_values() -> tuple[str, ...]:
    """The values to hide, longest first, as they are and as JSON would escape them."""
    values = {value for name, value in os.environ.items() if _LOOKS_SECRET.search(name) and len(value) >= _SHORTEST}
    escaped = {json.dumps(value)[1:-1] for value in values}
    return tuple(sorted(values | escaped, key=len, reverse=True))


def scrub(text: str, values: tuple[str, ...] | None = None) -> str:
    """The text with every secret masked."""
    for value in secret_values() if values is None else values:
        if value in text:
            text = text.replace(value, MASK)
    return text
