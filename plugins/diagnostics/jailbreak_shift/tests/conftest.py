"""Made-up prompts under made-up attacks: one hides the harm, one suppresses the refusal, one does neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from deepsight_jailbreak_shift import JailbreakShift

from deepsight_core.edits import Add, Edit
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Lens, Prompt, Token, Want
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, user

LAYERS, WIDTH, FROM, STRENGTH = 5, 16, 2, 6.0
GEOMETRY = Geometry(LAYERS, WIDTH, 1, WIDTH, WIDTH, 10)
HARM, DECISION, ELSEWHERE = 0, 1, 2
"""Coordinates of the residual stream."""


class Planted:
    """A model that opens with a refusal when the last token's decision coordinate is high enough."""

    geometry = GEOMETRY

    def __init__(self, states: dict[str, np.ndarray]) -> None:
        self.states = states
        """By id: activations at the end of the instruction and at the last token, (2, layers, width)."""

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt], edits: Sequence[Edit] = ()) -> Acts:
        arrays, layers = {}, {}
        for want in wants:
            if isinstance(want.reduce, Lens):
                arrays[want] = np.array([self._lens(prompt.id, edits) for prompt in prompts])[:, None, None, None]
                layers[want] = (None,)
            else:
                place = 0 if isinstance(want.positions, EndOfInstruction) else 1
                stacked = np.stack([self.states[prompt.id][place] for prompt in prompts])[:, :, None]
                arrays[want], layers[want] = stacked.astype(np.float32), tuple(range(LAYERS))
        return Acts(tuple(prompt.id for prompt in prompts), arrays, layers)

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        return tuple((Token(str(prompt.answer)[0], ord(str(prompt.answer)[0])),) for prompt in prompts)

    def _lens(self, id: str, edits: Sequence[Edit]) -> float:
        """log P of a refusal."""
        pushed = sum(edit.dose[id] * edit.vector[DECISION] for edit in edits if isinstance(edit, Add))
        return float(-np.logaddexp(0, -2 * (self.states[id][1, -1, DECISION] + pushed - STRENGTH / 2)))


@dataclass(frozen=True)
class World:
    evidence: Evidence
    inside: Planted
    diagnostic: JailbreakShift

    def diagnose(self) -> Diagnosis:
        inside: Inside = self.inside  # type: ignore[assignment]
        acts = inside.run(self.diagnostic.wants(self.evidence, GEOMETRY), self.evidence.prompts)
        return self.diagnostic.diagnose(self.evidence, acts, inside)


@pytest.fixture
def attacked() -> Callable[..., World]:
    def build(
        *,
        seed: int = 0,
        groups: int = 50,
        attacks: tuple[str, ...] = ("none", "mask", "hush", "idle"),
        refuses: bool = True,
        order: Callable[[str], object] = str,
        **options: object,
    ) -> World:
        rng = np.random.default_rng(seed)
        states, records = {}, []
        for number in range(groups):
            for harmful in (True, False):
                base = rng.standard_normal((2, LAYERS, WIDTH))
                for attack in attacks:
                    id = f"g{number:03}-{harmful}-{attack}"
                    state = base + 0.3 * rng.standard_normal(base.shape)
                    recognised = harmful and attack != "mask"
                    refused = refuses and harmful and attack in ("none", "idle")
                    state[0, FROM:, HARM] += STRENGTH * recognised
                    state[1, FROM:, DECISION] += STRENGTH * refused
                    state[:, FROM:, ELSEWHERE] += STRENGTH * (attack != "none")
                    states[id] = state
                    sample = Sample(
                        id=id,
                        messages=(user(f"question {id}"),),
                        group=f"group {number}",
                        labels={"harmful": harmful, "attack": attack},
                    )
                    verdict = Judgement(judge="j", label="refused" if refused else "complied")
                    answer = Output(text="Sorry." if refused else "Gladly.")
                    records.append(Record(dataset="d", sample=sample, output=answer, judgements=(verdict,)))
        records.sort(key=lambda record: order(record.id))
        evidence = Evidence(tuple(record.sample for record in records), tuple(records))
        chosen = {"permutations": 40, "resamples": 100, "penalties": (1.0, 10.0), **options}
        return World(evidence, Planted(states), JailbreakShift.model_validate(chosen))

    return build
