"""Recompute a few texts in the plainest way there is, and say how far the planned pass is from it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np

from deepsight_core.inside import Array, Lens, NextToken, Project, TopK
from deepsight_torch.capture import Edits, capture
from deepsight_torch.sites import Sites
from deepsight_torch.streams import Pass, Row, Stream

log = logging.getLogger(__name__)

TEXTS = 2
TOLERANCE = {"float32": 1e-4, "float64": 1e-4}
"""Largest relative error to be expected of reordered sums; 3e-2 in 16-bit types."""


class Guard:
    """Watches one pass: what it gives for two of its texts is what each gives alone."""

    def __init__(self, one: Pass, seed: int) -> None:
        self.streams = one.streams
        chosen = np.random.default_rng(seed).permutation(len(one.rows))[:TEXTS]
        self._rows = {one.rows[number].prompts[0]: one.rows[number] for number in chosen}
        self._seen: dict[int, list[Array]] = {}

    def see(self, row: Row, arrays: Sequence[Array]) -> None:
        """Keeps the arrays of a chosen row."""
        if row.prompts[0] in self._rows:
            self._seen[row.prompts[0]] = [array.copy() for array in arrays]

    def error(self, sites: Sites, edits: Edits | None = None, alone: Collection[int] = ()) -> float:
        """The largest relative difference, over streams and layers, from each text alone: batch of 1, no padding, no
        shared prefix. Texts that were read so in the first place (`alone`: their first prompts) differ by nothing and
        are not read again. Logs a warning when the difference is out of the ordinary."""
        worst = 0.0

        def compare(row: Row, alone: list[Array]) -> None:
            nonlocal worst
            for stream, found, expected in zip(self.streams, self._seen[row.prompts[0]], alone, strict=True):
                worst = max(worst, difference(stream, found, expected))

        for row in (row for prompt, row in self._rows.items() if prompt not in alone):
            capture(sites, self.streams, [row], compare, token_budget=1, share=False, edits=edits)
        tolerance = TOLERANCE.get(str(sites.dtype).removeprefix("torch."), 3e-2)
        if worst > tolerance:
            log.warning(
                "activations differ by %.1e from those of the text alone (expected: below %.0e)", worst, tolerance
            )
        return worst


def difference(stream: Stream, found: Array, expected: Array) -> float:
    """The largest difference of a layer, relative to that layer. Log-probabilities near 0 and projections that all but
    vanish are no reason for alarm: these are compared with 1, and with the largest layer."""
    reduce = stream.want.reduce
    if isinstance(reduce, TopK):  # of equally likely tokens, either may come first
        found, expected = found[..., : reduce.k], expected[..., : reduce.k]
    off = np.linalg.norm(found - expected, axis=(1, 2))
    size = np.linalg.norm(expected, axis=(1, 2))
    least = 1.0 if isinstance(reduce, Lens | TopK | NextToken) else size.max() if isinstance(reduce, Project) else 0.0
    return float(np.max(off / np.maximum(size, max(least, 1e-30))))
