"""The model of glass in runs whose truth is known, and a way to ask it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pytest
from deepsight_steering import Steering

from deepsight_core.evidence import Evidence, Repeat
from deepsight_core.protocol import Diagnosis, Finding, Judgement, Output, Record, Sample, user
from deepsight_core.testing import GlassInside


@dataclass(frozen=True)
class Again:
    """Asks the model of glass, and calls a refusal what says sorry."""

    inside: GlassInside
    samples: tuple[Sample, ...]

    def records(self) -> tuple[Record, ...]:
        written = self.inside.generate(Evidence(self.samples).prompts, 16)
        return tuple(
            Record(
                dataset="d",
                sample=sample,
                output=Output(text=one.text),
                judgements=(Judgement(judge="j", label="refused" if "sorry" in one.text else "complied"),),
            )
            for sample, one in zip(self.samples, written, strict=True)
        )

    def __call__(self, name: str, edited: AbstractContextManager[None], ids: Sequence[str] | None = None) -> Repeat:
        chosen = replace(self, samples=tuple(sample for sample in self.samples if ids is None or sample.id in ids))
        before = chosen.records()
        with edited:
            return Repeat(before, chosen.records())


@dataclass(frozen=True)
class World:
    evidence: Evidence
    inside: GlassInside
    diagnostic: Steering

    def diagnose(self) -> Diagnosis:
        wants = self.diagnostic.wants(self.evidence, self.inside.geometry)
        return self.diagnostic.diagnose(self.evidence, self.inside.run(wants, self.evidence.prompts), self.inside)


@pytest.fixture
def world() -> Callable[..., World]:
    """`refuses(number)` says whether sample `number` has the refusal direction planted; even numbers are harmful."""

    def build(
        *,
        count: int = 64,
        refuses: Callable[[int], bool] = lambda number: number % 2 == 0,
        strength: float = 9.6,
        again: bool = True,
        name: str = "s",
        **options: object,
    ) -> World:
        samples = tuple(
            Sample(
                id=f"{name}{number:03}",
                messages=(user("some words here"),),
                group=f"pair {number // 2}",
                labels={"harmful": number % 2 == 0},
            )
            for number in range(count)
        )
        diagnostic = Steering.model_validate({"layer": 2, **options})
        refusing = [sample.id for number, sample in enumerate(samples) if refuses(number)]
        dosed = [f"{id} x {dose:g}" for id in refusing for dose in diagnostic.doses]  # glass knows prompts by their ids
        inside = GlassInside(frozenset([*refusing, *dosed]), strength)
        asker = Again(inside, samples)
        evidence = Evidence(samples, asker.records(), again=asker if again else None)
        return World(evidence, inside, diagnostic)

    return build


@pytest.fixture
def named() -> Callable[[Diagnosis, str], Finding]:
    return lambda diagnosis, name: next(finding for finding in diagnosis.findings if finding.name == name)
