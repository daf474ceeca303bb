"""A first pass over a data set, before anything is asked: how many samples, which of them, and their digest.

Costs 16 bytes a sample, so that a data set of any size can be surveyed in flat memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepsight_core.components import Dataset
from deepsight_core.errors import ConfigError, SourceError
from deepsight_core.protocol import Sample, short_hash


@dataclass(frozen=True)
class Survey:
    """What the first pass saw."""

    total: int
    """Samples in the data set."""
    chosen: int
    """Samples left by `limit`."""
    digest: str
    """sha256 over all samples, in order."""
    ceiling: int
    """A group is chosen when its hash does not exceed this."""
    seed: int

    dataset: Dataset

    def samples(self) -> Iterator[Sample]:
        """The chosen samples, in the data set's order."""
        if self.chosen == self.total:
            yield from self.dataset.samples()
            return
        for sample in self.dataset.samples():
            if short_hash(f"{self.seed}/{sample.cluster}") <= self.ceiling:
                yield sample


def survey(dataset: Dataset, seed: int, limit: int | None = None) -> Survey:
    """Count, check and digest a data set, and choose at most `limit` samples of it.

    Whole groups are drawn in the order of a seeded hash of their name: the draw depends neither on the data's order (a
    file sorted by label gives both labels) nor on the limit (a smaller one is part of a larger one). Raises ConfigError
    for repeated ids or a limit that no group fits, SourceError for an empty data set.
    """
    digest = hashlib.sha256()
    ids, groups = array("Q"), array("Q")
    for sample in dataset.samples():
        digest.update(sample.model_dump_json().encode())
        ids.append(short_hash(sample.id))
        groups.append(short_hash(f"{seed}/{sample.cluster}"))
    if not ids:
        raise SourceError(f"dataset {dataset.name!r} is empty")
    _refuse_repeats(dataset, ids)
    total, ceiling, chosen = len(ids), 2**64 - 1, len(ids)
    if limit is not None and limit < total:
        hashes, sizes = np.unique(np.frombuffer(groups, dtype=np.uint64), return_counts=True)
        fitting = np.searchsorted(np.cumsum(sizes), limit, side="right")
        if not fitting:
            raise ConfigError(
                f"dataset {dataset.name!r}: limit={limit} is smaller than its first group of {sizes[0]} samples, which "
                "belong together; raise the limit"
            )
        ceiling, chosen = int(hashes[fitting - 1]), int(sizes[:fitting].sum())
    return Survey(total, chosen, digest.hexdigest(), ceiling, seed, dataset)


def _refuse_repeats(dataset: Dataset, ids: array[int]) -> None:
    hashes, counts = np.unique(np.frombuffer(ids, dtype=np.uint64), return_counts=True)
    if counts.max() > 1:
        repeated = int(hashes[counts.argmax()])
        name = next(sample.id for sample in dataset.samples() if short_hash(sample.id) == repeated)
        raise ConfigError(
            f"dataset {dataset.name!r}: sample id {name!r} occurs {counts.max()} times; ids must be unique"
        )
