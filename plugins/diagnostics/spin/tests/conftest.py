"""Made-up importance in which the truth is known: what matters to both cohorts, and what matters to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deepsight_spin import Spin

from deepsight_core.evidence import Evidence, Repeat
from deepsight_core.inside import Geometry, Prompt
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, assistant, short_hash, user
from deepsight_core.weights import Importance, Matrix, Units

LAYERS, NEURONS, WIDTH = 3, 40, 25
SETS = ("privacy", "fairness", "general")


def matrices() -> tuple[Matrix, ...]:
    return tuple(
        Matrix(
            f"model.layers.{layer}.mlp.{name}.weight",
            layer,
            "mlp",
            shape,
            units=Units("neuron", f"model.layers.{layer}.mlp", axis),
        )
        for layer in range(LAYERS)
        for name, shape, axis in (("up_proj", (NEURONS, WIDTH), 0), ("down_proj", (WIDTH, NEURONS), 1))
    )


@dataclass
class FakeInside:
    """Scores of an example: what all share, times what its set shares (`apart`), times luck."""

    seed: int = 0
    apart: float = 0.0
    neuron: int | None = None
    """Of block 1: all its weights matter most, to all sets in `coupled`."""
    coupled: tuple[str, ...] = SETS[:2]
    scale: float = 1.0
    calls: list[dict[str, Any]] = field(default_factory=list)
    drawn: dict[str, list[str]] = field(default_factory=dict)
    masks: list[dict[Any, Any]] = field(default_factory=list)
    geometry = Geometry(LAYERS, WIDTH, 1, WIDTH, NEURONS, 10)

    def importance(
        self, cohorts: Mapping[str, Sequence[Prompt]], *, depth: float, blocks: int = 1, **options: Any
    ) -> Importance:
        self.calls.append({"depth": depth, "blocks": blocks, **options})
        self.drawn = {name: [prompt.id for prompt in prompts] for name, prompts in cohorts.items()}
        kept, scores = [], []
        for matrix in matrices():
            full = np.stack([self._blocks(matrix, prompts, blocks) for prompts in cohorts.values()])
            count = int(depth * matrix.size)
            best = np.unique(np.concatenate([np.argsort(-total)[:count] for total in full.sum(axis=1)]))
            kept.append(best.astype(np.int64))
            scores.append(full[:, :, best])
        counts = {name: len(prompts) for name, prompts in cohorts.items()}
        return Importance(tuple(cohorts), counts, matrices(), tuple(kept), tuple(scores), depth)

    @contextmanager
    def masked(self, entries: Mapping[Any, Any]) -> Iterator[None]:
        self.masks.append(dict(entries))
        yield

    def _blocks(self, matrix: Matrix, prompts: Sequence[Prompt], blocks: int) -> np.ndarray[Any, Any]:
        rows = [self._example(matrix, prompt) for prompt in prompts]
        return np.stack([np.sum(part, axis=0) for part in np.array_split(np.stack(rows), blocks)]).astype(np.float32)

    def _example(self, matrix: Matrix, prompt: Prompt) -> np.ndarray[Any, Any]:
        kind = str(prompt.labels["set"])
        score = np.exp(
            2 * self._normal(matrix, "all")
            + self.apart * self._normal(matrix, kind)
            + self._normal(matrix, f"example {prompt.id}")
        )
        if self.neuron is not None and matrix.layer == 1 and kind in self.coupled:
            score[matrix.unit_numbers(np.arange(matrix.size)) == self.neuron] *= 1e9
        return score * self.scale

    def _normal(self, matrix: Matrix, name: str) -> np.ndarray[Any, Any]:
        return np.random.default_rng(short_hash(f"{self.seed} {matrix.name} {name}")).standard_normal(matrix.size)


@dataclass(frozen=True)
class World:
    evidence: Evidence
    inside: FakeInside
    spin: Spin

    def diagnose(self) -> Diagnosis:
        return self.spin.diagnose(self.evidence, SimpleNamespace(), self.inside)  # type: ignore[arg-type]


@pytest.fixture
def world() -> Callable[..., World]:
    def build(
        *,
        count: int = 24,
        sets: Sequence[str] = SETS,
        group: Callable[[int], str | None] = lambda number: None,
        answer: Callable[[int], str] = lambda number: f"answer {number}",
        order: Sequence[int] | None = None,
        again: Any = None,
        seed: int = 0,
        apart: float = 0.0,
        neuron: int | None = None,
        coupled: tuple[str, ...] = SETS[:2],
        scale: float = 1.0,
        **options: Any,
    ) -> World:
        samples = [
            Sample(
                id=f"{name}-{number:03}",
                messages=(user(f"question {number}"), assistant(answer(number))),
                group=group(number),
                labels={"set": name},
            )
            for name in sets
            for number in range(count)
        ]
        samples = [samples[place] for place in order] if order is not None else samples
        chosen = {"share": 0.02, "shares": (0.001, 0.05), "draws": 60, "blocks": 6, **options}
        inside = FakeInside(seed=seed, apart=apart, neuron=neuron, coupled=coupled, scale=scale)
        return World(Evidence(tuple(samples), again=again), inside, Spin.model_validate(chosen))

    return build


@pytest.fixture
def asked() -> Callable[..., Any]:
    """An evaluation whose answers to be given again are known: verdicts before, and under each edit by its name."""

    def build(before: Sequence[str], after: Mapping[str, Sequence[str]]) -> Any:
        def records(verdicts: Sequence[str]) -> tuple[Record, ...]:
            return tuple(
                Record(
                    dataset="d",
                    sample=Sample(id=f"e{number}", messages=(user("x"),)),
                    output=Output(text="y"),
                    judgements=(Judgement(judge="j", label=verdict),),
                )
                for number, verdict in enumerate(verdicts)
            )

        def again(name: str, edited: Any, ids: Any = None) -> Repeat:
            with edited:
                return Repeat(records(before), records(after[name]))

        return again

    return build
