"""Made-up evidence in which the truth is known: harmful samples are refused, and lean to it from layer 2 on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from deepsight_logit_lens import LogitLens

from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, user
from deepsight_core.testing.glass import ANSWER, REFUSAL, GlassInside


@dataclass(frozen=True)
class World:
    """Evidence and a model; `diagnose` runs the diagnostic on both."""

    evidence: Evidence
    inside: Any
    diagnostic: LogitLens

    def diagnose(self) -> Diagnosis:
        acts: Any = SimpleNamespace()
        return self.diagnostic.diagnose(self.evidence, acts, self.inside)


@pytest.fixture
def planted() -> Callable[..., World]:
    def build(
        *,
        count: int = 48,
        strength: float = 5.0,
        refused: Callable[[int], bool] = lambda number: number % 2 == 0,
        seed: str = "",
        order: int = 1,
        **options: Any,
    ) -> World:
        samples = tuple(
            Sample(
                id=f"s{seed}{number:03}",
                messages=(user(f"question {number}"),),
                group=f"pair {number // 2}",
                labels={"harmful": number % 2 == 0},
            )
            for number in range(count)
        )[::order]
        records = tuple(
            Record(
                dataset="d",
                sample=sample,
                output=Output(text=REFUSAL if refused(int(sample.id[-3:])) else ANSWER),
                judgements=(Judgement(judge="j", label="refused" if refused(int(sample.id[-3:])) else "complied"),),
            )
            for sample in samples
        )
        harmful = frozenset(sample.id for sample in samples if sample.labels["harmful"])
        given = {"permutations": 199, "resamples": 100, **options}
        return World(Evidence(samples, records), GlassInside(harmful, strength), LogitLens.model_validate(given))

    return build
