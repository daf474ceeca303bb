"""Made-up evidence in which the truth is known: a shift of the class means from one layer on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from deepsight_linear_probe import LinearProbe

from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Array, Geometry, Last, Want
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, user


@dataclass(frozen=True)
class World:
    """Evidence and activations; `diagnose` runs the diagnostic on both. No model is needed: it only reads arrays."""

    evidence: Evidence
    acts: Acts
    probe: LinearProbe

    def diagnose(self) -> Diagnosis:
        return self.probe.diagnose(self.evidence, self.acts, None)  # type: ignore[arg-type]


@pytest.fixture
def planted() -> Callable[..., World]:
    def build(
        *,
        seed: int = 0,
        count: int = 60,
        layers: int = 4,
        width: int = 12,
        shift: float = 0.0,
        start: int = 0,
        scale: float = 1.0,
        paired: bool = True,
        harmful: Callable[[int], bool] = lambda number: number % 2 == 0,
        refused: Callable[[int], bool] | None = None,
        words: Callable[[int], str] = lambda number: f"question {number}",
        order: Callable[[int], int] = lambda number: number,
        **options: object,
    ) -> World:
        numbers = sorted(range(count), key=order)
        samples = tuple(
            Sample(
                id=f"s{number:03}",
                messages=(user(words(number)),),
                group=f"pair {number // 2}" if paired else None,
                labels={"harmful": harmful(number)},
            )
            for number in numbers
        )
        records: tuple[Record, ...] = ()
        if refused is not None:
            verdicts = ("refused" if refused(number) else "complied" for number in numbers)
            records = tuple(
                Record(
                    dataset="d", sample=s, output=Output(text="x"), judgements=(Judgement(judge="j", label=verdict),)
                )
                for s, verdict in zip(samples, verdicts, strict=True)
            )
        evidence = Evidence(samples, records)
        probe = LinearProbe.model_validate({"permutations": 40, "resamples": 100, "positions": ("last",), **options})
        rng = np.random.default_rng(seed)
        direction = rng.standard_normal(width)
        direction /= np.linalg.norm(direction)
        y = np.array([harmful(number) for number in range(count)])
        stack = rng.standard_normal((count, layers, 1, width))
        stack[:, start:, 0] += shift * y[:, None, None] * direction
        tail = rng.standard_normal(width)
        arrays: dict[Want, Array] = {}
        named: dict[Want, tuple[int | None, ...]] = {}
        for want in probe.wants(evidence, Geometry(layers, width, 1, width, width, 10)):
            constant = np.tile(tail, (count, 1, 1, 1)).reshape(count, 1, 1, width)
            values = stack if want.site == "resid_out" else constant if want.positions == Last() else stack[:, :1]
            arrays[want] = (scale * values[numbers]).astype(np.float32)
            named[want] = tuple(range(layers)) if want.site == "resid_out" else (None,)
        lengths = {"prompt": np.array([len(words(number)) for number in numbers])}
        return World(evidence, Acts(tuple(s.id for s in samples), arrays, named, lengths), probe)

    return build
