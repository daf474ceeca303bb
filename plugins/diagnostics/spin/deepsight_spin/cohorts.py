"""Which examples stand for each of the two concerns, and for answers in general."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Prompt

FIRST, SECOND, GENERAL = "first", "second", "general"


@dataclass(frozen=True)
class Cohorts:
    """The examples of each cohort, in the order in which they were drawn."""

    prompts: Mapping[str, tuple[Prompt, ...]]
    available: Mapping[str, int]
    """How many samples they were drawn from."""
    unanswered: int
    """Samples of the cohorts that have no answer, and were left out."""


def rows(evidence: Evidence, selectors: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, Prompt], int]:
    """Ids of the answered samples of each cohort, in the order of the evidence, with their prompts, and how many of
    the cohorts' samples have no answer. Raises DiagnosticError for a sample that is in two cohorts."""
    prompts = {prompt.id: prompt for prompt in evidence.prompts}
    members = {name: evidence.cohort(selector) for name, selector in selectors.items()}
    owner: dict[str, str] = {}
    for name, ids in members.items():
        for id in ids:
            if owner.setdefault(id, name) != name:
                raise DiagnosticError(
                    f"sample {id!r} is in the {owner[id]} cohort ({selectors[owner[id]]!r}) and in the {name} one "
                    f"({selectors[name]!r}); choose selectors that exclude one another"
                )
    answered = {name: [id for id in ids if prompts[id].answer] for name, ids in members.items()}
    return answered, prompts, len(owner) - sum(map(len, answered.values()))


def published(evidence: Evidence, selectors: Mapping[str, str], count: int, seed: int) -> Cohorts:
    """The published draw: of each cohort the first `count` rows of one seeded permutation."""
    members, prompts, unanswered = rows(evidence, selectors)
    _require(members, selectors, (FIRST, SECOND), 1)
    drawn = {
        name: tuple(prompts[ids[row]] for row in np.random.default_rng(seed).permutation(len(ids))[:count])
        for name, ids in members.items()
    }
    return Cohorts(drawn, {name: len(ids) for name, ids in members.items()}, unanswered)


def independent(evidence: Evidence, selectors: Mapping[str, str], count: int, blocks: int, seed: int) -> Cohorts:
    """One example of each cluster, drawn by a seeded permutation; equally many of the first and of the second cohort,
    since the more examples, the steadier the scores and the larger the overlap.

    Raises DiagnosticError where a cohort has fewer clusters than blocks; a general cohort that small is left out.
    """
    members, prompts, unanswered = rows(evidence, selectors)
    clusters = {sample.id: sample.cluster for sample in evidence.samples}
    single: dict[str, list[str]] = {}
    for name, ids in members.items():
        by_cluster: dict[str, str] = {}
        for id in sorted(ids):  # so that the order of the evidence changes nothing
            by_cluster.setdefault(clusters[id], id)
        single[name] = list(by_cluster.values())
    _require(single, selectors, (FIRST, SECOND), blocks)
    if len(single.get(GENERAL, ())) < blocks:
        single.pop(GENERAL, None)
    equal = min(count, len(single[FIRST]), len(single[SECOND]))
    drawn = {
        name: tuple(
            prompts[ids[row]]
            for row in np.random.default_rng(seed).permutation(len(ids))[: count if name == GENERAL else equal]
        )
        for name, ids in single.items()
    }
    return Cohorts(drawn, {name: len(ids) for name, ids in members.items()}, unanswered)


def _require(
    members: Mapping[str, Sequence[str]], selectors: Mapping[str, str], names: Sequence[str], least: int
) -> None:
    for name in names:
        if len(members[name]) < least:
            raise DiagnosticError(
                f"the {name} cohort ({selectors[name]!r}) has {len(members[name])} independent samples with an answer "
                f"and needs {least}; set {name} to a selector that holds for more, or evaluate or name such data"
            )
