"""How the rules are written down: lists of words, tables of patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable


def either(words: str) -> str:
    """A pattern for any of a comma-separated list; each may itself be a pattern."""
    return f"(?:{'|'.join(word.strip() for word in words.split(',') if word.strip())})"


def table(patterns: Iterable[str]) -> re.Pattern[str]:
    """One pattern that matches wherever any of them does."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
