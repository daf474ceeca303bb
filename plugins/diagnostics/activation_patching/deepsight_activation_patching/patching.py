"""Patches: the refusal score of a prompt when some of its activations are those of another prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from deepsight_causal import RefusalTokens, scores
from numpy.typing import NDArray

from deepsight_core.edits import Edit, Patch
from deepsight_core.inside import Inside, Last, Prompt
from deepsight_core.wants import SiteKind

Key = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """What is patched, at the last token of the prompt."""

    site: SiteKind
    layer: int
    head: int | None = None

    @property
    def units(self) -> tuple[int, ...] | None:
        return None if self.head is None else (self.head,)


@dataclass(frozen=True, eq=False)
class Job:
    """One patched reading of a prompt."""

    key: Key
    """By which its score is found among the others."""
    place: Place
    prompt: Prompt
    source: NDArray[np.floating]
    """The other prompt's activation at the place: (width,), all heads of the layer for a head."""


def patched(inside: Inside, tokens: RefusalTokens, jobs: Sequence[Job]) -> dict[Key, float]:
    """The refusal score of every job. Jobs of one prompt are rows of one batch: up to their last token they are alike,
    and may be read once."""
    found: dict[Key, float] = {}
    for id in dict.fromkeys(job.prompt.id for job in jobs):
        chosen = [job for job in jobs if job.prompt.id == id]
        rows: list[Prompt] = []
        sources: dict[Place, dict[str, NDArray[np.floating]]] = {}
        for number, job in enumerate(chosen):
            row = job.prompt.model_copy(update={"id": f"{id}/{number}"})
            rows.append(row)
            sources.setdefault(job.place, {})[row.id] = job.source[None, None]
        values = scores(inside, rows, tokens, _patches(sources))
        found.update((job.key, float(value)) for job, value in zip(chosen, values, strict=True))
    return found


def _patches(sources: Mapping[Place, Mapping[str, NDArray[np.floating]]]) -> tuple[Edit, ...]:
    return tuple(
        Patch(source, site=place.site, layers=(place.layer,), positions=Last(), units=place.units)
        for place, source in sources.items()
    )
