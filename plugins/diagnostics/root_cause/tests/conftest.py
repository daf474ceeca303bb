"""Made-up prompts whose cause is known: harm is planted at the instruction's end, the decision at the last token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from deepsight_root_cause import RootCause

from deepsight_core.edits import Add, Edit
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Lens, Prompt, Token, Want
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, user

LAYERS, WIDTH, FROM = 5, 16, 2
GEOMETRY = Geometry(LAYERS, WIDTH, 1, WIDTH, WIDTH, 10)
HARM, DECISION = 0, 1
"""Coordinates of the residual stream."""


class Planted:
    """A model whose last token refuses when its decision coordinate and its recognition, together, are high enough."""

    geometry = GEOMETRY

    def __init__(self, states: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self.states = states
        """By id: activations at the end of the instruction and at the last token, (layers, width)."""

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt], edits: Sequence[Edit] = ()) -> Acts:
        arrays, layers = {}, {}
        for want in wants:
            if isinstance(want.reduce, Lens):
                arrays[want] = np.array([self._lens(prompt.id, edits) for prompt in prompts])[:, None, None, None]
                layers[want] = (None,)
            else:
                place = 0 if isinstance(want.positions, EndOfInstruction) else 1
                stacked = np.stack([self.states[prompt.id][place] for prompt in prompts])[:, :, None]
                arrays[want], layers[want] = (
                    stacked.astype(np.float32)[:, list(want.layers or range(LAYERS))],
                    want.layers or tuple(range(LAYERS)),
                )
        return Acts(tuple(prompt.id for prompt in prompts), arrays, layers)

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        return tuple((Token(str(prompt.answer)[0], ord(str(prompt.answer)[0])),) for prompt in prompts)

    def _lens(self, id: str, edits: Sequence[Edit]) -> float:
        """log P of a refusal: a push counts in proportion to how clearly the harm was recognised."""
        instruction, last = self.states[id]
        pushed = sum(float(edit.vector[DECISION]) for edit in edits if isinstance(edit, Add))
        odds = 2 * (last[-1, DECISION] + (pushed if instruction[-1, HARM] > 2 else 0) - 2)
        return float(-np.logaddexp(0, -odds))


@dataclass(frozen=True)
class World:
    evidence: Evidence
    inside: Planted
    probe: RootCause

    def diagnose(self) -> Diagnosis:
        inside: Inside = self.inside  # type: ignore[assignment]
        return self.probe.diagnose(
            self.evidence, inside.run(self.probe.wants(self.evidence, GEOMETRY), self.evidence.prompts), inside
        )


def kind_of(number: int) -> str:
    """Pairs of a harmful and a harmless prompt; every tenth pair fails in one of three ways."""
    if number % 2:
        return "over-refused" if number // 2 % 10 == 3 else "answered"
    return {0: "recognised", 1: "missed"}.get(number // 2 % 10, "refused")


@pytest.fixture
def planted() -> Callable[..., World]:
    def build(
        *,
        seed: int = 0,
        count: int = 200,
        strength: float = 6.0,
        scale: float = 1.0,
        kind: Callable[[int], str] = kind_of,
        order: Callable[[int], float] = lambda number: number,
        dataset: Callable[[int], str] = lambda number: "d",
        **options: object,
    ) -> World:
        rng = np.random.default_rng(seed)
        states, samples, records = {}, [], []
        for number in range(count):
            what, id = kind(number), f"s{number:03}"
            instruction, last = rng.standard_normal((2, LAYERS, WIDTH))
            instruction[FROM:, HARM] += strength * (what in ("recognised", "refused"))
            last[FROM:, DECISION] += strength * (what in ("refused", "over-refused"))
            states[id] = (scale * instruction, scale * last) if scale != 1 else (instruction, last)
            refused = what in ("refused", "over-refused")
            sample = Sample(
                id=id,
                messages=(user(f"question {number}"),),
                group=f"pair {number // 2}",
                labels={"harmful": number % 2 == 0, "kind": what},
            )
            verdict = Judgement(judge="j", label="refused" if refused else "complied")
            samples.append(sample)
            records.append(
                Record(
                    dataset=dataset(number),
                    sample=sample,
                    output=Output(text="Sorry." if refused else "Gladly."),
                    judgements=(verdict,),
                )
            )
        mixed = sorted(range(count), key=order)
        evidence = Evidence(tuple(samples[n] for n in mixed), tuple(records[n] for n in mixed))
        chosen = {"permutations": 40, "resamples": 100, "penalties": (1.0, 10.0), **options}
        return World(evidence, Planted(states), RootCause.model_validate(chosen))

    return build
