"""Made-up evidence in which the truth is known: outcomes that depend on a state, on a word, or on nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from deepsight_black_to_white import BlackToWhite

from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, user
from deepsight_core.testing import GlassInside

SUBJECTS = ("bread", "cats", "trains", "rivers", "chess", "gardens", "violins")


@dataclass(frozen=True)
class World:
    """Evidence and activations; `diagnose` runs the diagnostic on both. The model's first token says nothing unless it
    is planted there."""

    evidence: Evidence
    acts: Acts
    diagnostic: BlackToWhite
    inside: Inside

    def diagnose(self) -> Diagnosis:
        return self.diagnostic.diagnose(self.evidence, self.acts, self.inside)


@pytest.fixture
def planted() -> Callable[..., World]:
    def build(
        *,
        seed: int = 0,
        count: int = 80,
        layers: int = 3,
        width: int = 8,
        state: float = 0.0,
        start: int = 0,
        word: bool = False,
        token: bool = False,
        datasets: int = 1,
        harmful: Callable[[int], bool] = lambda number: True,
        refused: Callable[[int], bool] | None = None,
        order: Callable[[int], int] = lambda number: number,
        **options: object,
    ) -> World:
        """The outcome, a refusal, is a coin; `state` shifts the first coordinate from layer `start` on by so much,
        `word` puts it into the prompt, `token` into what the model is about to say."""
        rng = np.random.default_rng(seed)
        coin = rng.random(count) < 0.5 if refused is None else np.array([refused(number) for number in range(count)])
        samples, records, shown = [], [], []
        stack = rng.standard_normal((count, layers, 1, width))
        stack[:, start:, 0, 0] += state * coin[:, None]
        subject = rng.integers(len(SUBJECTS), size=count)
        for number in sorted(range(count), key=order):
            words = f"Tell me of {SUBJECTS[subject[number]]}" + (" forbidden things" if word and coin[number] else "")
            sample = Sample(id=f"s{number:03}", messages=(user(words),), labels={"harmful": harmful(number)})
            verdict = "refused" if coin[number] else "complied"
            samples.append(sample)
            shown.append(number)
            records.append(
                Record(
                    dataset=f"set {number % datasets}",
                    sample=sample,
                    output=Output(text="I'm sorry, no." if coin[number] else "Sure, here it is."),
                    judgements=(Judgement(judge="j", label=verdict),),
                )
            )
        quick = {"permutations": 60, "resamples": 100, "first_token": token, "penalties": (1.0, 100.0)}
        diagnostic = BlackToWhite.model_validate({**quick, **options})
        evidence = Evidence(tuple(samples), tuple(records))
        (want,) = diagnostic.wants(evidence, Geometry(layers, width, 1, width, width, 10))
        lengths = {"prompt": np.array([len(s.messages[0].text.split()) for s in samples])}
        acts = Acts(
            tuple(sample.id for sample in samples),
            {want: stack[shown].astype(np.float32)},
            {want: tuple(range(layers))},
            lengths,
        )
        about = frozenset(f"s{number:03}" for number in range(count) if token and coin[number])
        return World(evidence, acts, diagnostic, GlassInside(about))

    return build
