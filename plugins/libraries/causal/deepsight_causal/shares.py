"""How often a model refuses what it should: where it hardly does, there is no refusal to explain."""

from __future__ import annotations

from collections.abc import Collection

from deepsight_core.evidence import Evidence

LITTLE = 0.1
"""Share of harmful prompts refused below which a diagnostic must not speak of refusal being caused."""


def refused_share(evidence: Evidence, ids: Collection[str], selector: str = "verdict:refused") -> float | None:
    """The share of these samples, of those with a scored verdict, for which the selector holds; None for none."""
    what = selector.partition(":")[0]
    scored = [sample.id for sample in evidence.samples if sample.id in ids and evidence.value(sample, what) is not None]
    return len(set(scored) & set(evidence.cohort(selector))) / len(scored) if scored else None


def hardly(share: float | None) -> bool:
    """Whether so small a share is refused that refusal cannot be said to be caused by anything."""
    return share is None or share < LITTLE
