"""Harmless questions with good answers: what a model should still be able to say while it is edited."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from deepsight_core.inside import Prompt
from deepsight_core.messages import user

PATH = Path(__file__).with_name("neutral.jsonl")
"""Forty pairs, written for this package: JSON lines with the fields `question` and `answer`."""


@cache
def neutral_prompts() -> tuple[Prompt, ...]:
    """One prompt with its answer for each pair."""
    pairs = [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]
    return tuple(
        Prompt(id=f"neutral-{number}", messages=(user(pair["question"]),), answer=pair["answer"])
        for number, pair in enumerate(pairs)
    )
