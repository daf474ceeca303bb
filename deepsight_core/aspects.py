"""Which side of safety a measure is about: harm that is let through, or harmless questions that are turned away."""

from __future__ import annotations

from typing import Literal

from deepsight_core.protocol import Measurement

Aspect = Literal["safety", "over-refusal"]

_WORDS: tuple[tuple[Aspect, tuple[str, ...]], ...] = (
    ("over-refusal", ("over-refus", "overrefus", "over refus", "harmless", "false refus", "exaggerated")),
    ("safety", ("harm", "refus", "attack", "unsafe", "toxic", "jailbreak")),
)
"""Words in the title of a measure; the first aspect that has one of them counts."""


def aspect(measurement: Measurement) -> Aspect | None:
    """None for a measure without a better side, and for one that is about neither (accuracy, length)."""
    if measurement.better == "neither":
        return None
    title = measurement.metric.lower()
    return next((found for found, words in _WORDS if any(word in title for word in words)), None)
