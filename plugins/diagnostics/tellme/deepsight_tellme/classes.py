"""The classes of answers to be told apart, by a yes-or-no selector or by the values of a label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsight_core.crossfit import numbered
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import short_hash

Ints = NDArray[np.int64]

FEWEST = 3
"""Clusters that a class must span: a spread needs two, and one is left out at a time."""


@dataclass(frozen=True)
class Classes:
    """Samples with their classes, sorted by id, so that nothing depends on the order of the evidence."""

    ids: tuple[str, ...]
    kind: Ints
    """Number of the class, into `names`."""
    names: tuple[str, ...]
    groups: Ints
    """Cluster of each row, numbered from 0."""
    left_out: int = 0
    """Samples beyond the most that were asked for."""

    @property
    def counts(self) -> Ints:
        return np.bincount(self.kind, minlength=len(self.names))


def classes(evidence: Evidence, selector: str, most: int | None = None) -> Classes:
    """Sort samples into classes.

    A selector that holds or not (`label:harmful`, `verdict:refused`) gives two classes: those for which it holds come
    first. The name of a label with several values (`label:category`) gives one class a value. Of more than `most`
    samples, whole clusters are drawn by hash. Raises DiagnosticError for fewer than two classes, and for a class that
    spans fewer than three clusters.
    """
    chosen = {sample.id: sample.cluster for sample in evidence.samples}
    kinds = _kinds(evidence, selector)
    rows = sorted((id, cluster) for id, cluster in chosen.items() if id in kinds)
    left_out = 0
    if most is not None and len(rows) > most:
        kept = _drawn(rows, most)
        left_out, rows = len(rows) - len(kept), kept
    names = _names((kinds[id] for id, _ in rows), selector)
    found = Classes(
        ids=tuple(id for id, _ in rows),
        kind=np.array([names.index(kinds[id]) for id, _ in rows], dtype=np.int64),
        names=names,
        groups=numbered([cluster for _, cluster in rows]),
        left_out=left_out,
    )
    for number, name in enumerate(names):
        clusters = len(np.unique(found.groups[found.kind == number]))
        if clusters < FEWEST:
            raise DiagnosticError(
                f"class {name!r} of {selector!r} spans {clusters} clusters ({found.counts[number]} of {len(rows)} "
                f"samples) and needs {FEWEST} at least; look at more samples, or choose other classes"
            )
    return found


def in_order(evidence: Evidence, selector: str) -> Classes:
    """All samples that have a class, in the order of the data, which some published quantities depend on.

    Raises DiagnosticError where all are of one class: then there is no gap and no distance.
    """
    kinds = _kinds(evidence, selector)
    rows = [(sample.id, sample.cluster) for sample in evidence.samples if sample.id in kinds]
    names = _names(kinds.values(), selector)
    return Classes(
        ids=tuple(id for id, _ in rows),
        kind=np.array([names.index(kinds[id]) for id, _ in rows], dtype=np.int64),
        names=names,
        groups=numbered([cluster for _, cluster in rows]),
    )


def _names(kinds: Iterable[str], selector: str) -> tuple[str, ...]:
    """The classes, those for which a selector does not hold last. Raises DiagnosticError for fewer than two."""
    names = tuple(sorted(set(kinds), key=lambda name: (name.startswith("not "), name)))
    if len(names) < 2:
        known = f"all samples are {names[0]!r}" if names else "no sample carries it"
        raise DiagnosticError(
            f"classes {selector!r} need samples of two classes at least, but {known}; choose another label or verdict, "
            "or look at data that have both"
        )
    return names


def _kinds(evidence: Evidence, selector: str) -> dict[str, str]:
    """Class of each sample that has one."""
    source, _, name = selector.partition(":")
    if source == "label" and "=" not in name and "&" not in name:
        values = {sample.id: sample.labels[name] for sample in evidence.samples if name in sample.labels}
        if any(not isinstance(value, bool) for value in values.values()):
            return {id: str(value) for id, value in values.items()}
    contrast = evidence.contrast(selector)
    short = (name or selector).replace("=", " ")
    return {id: short if y else f"not {short}" for id, y in zip(contrast.ids, contrast.y, strict=True)}


def _drawn(rows: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    order = sorted({cluster for _, cluster in rows}, key=short_hash)
    members: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        members.setdefault(row[1], []).append(row)
    kept: list[tuple[str, str]] = []
    for cluster in order:
        if len(kept) + len(members[cluster]) <= most:
            kept += members[cluster]
    return sorted(kept)
