"""The published definition, computed naively, and a model of glass in which the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from deepsight_mi_peaks import MIPeaks
from deepsight_mi_peaks.kernel import PUBLISHED, Kernel

from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Written
from deepsight_core.protocol import Diagnosis, Judgement, Output, Record, Sample, short_hash, user


def resolvent(x: Any, kernel: Kernel, dtype: Any) -> Any:
    """A (A + c I)^-1 with A = K H, in the precision given, by an explicit inverse."""
    x = np.asarray(x, dtype=dtype)
    width = len(x)
    squares = (x[:, None] - x) ** 2
    if kernel.name == "linear":
        matrix = np.outer(x, x)
    elif kernel.name == "imq":
        matrix = 1 / np.sqrt(squares + 1)
    else:
        sigma = kernel.sigma
        if sigma is None:
            twice = np.concatenate([x, x])
            pairs = ((twice[:, None] - twice) ** 2)[np.tril_indices(2 * width, -1)]
            middle = np.median(pairs)
            sigma = max(middle if middle > 0 else pairs.mean(), 1e-2)
        matrix = np.exp(-squares / dtype(2 * sigma**2))
    a = matrix @ (np.eye(width, dtype=dtype) - dtype(1 / width))
    return a @ np.linalg.inv(a + dtype(1e-5 * width) * np.eye(width, dtype=dtype))


@pytest.fixture
def dense() -> Any:
    def value(x: Any, y: Any, kernel: Kernel = PUBLISHED, dtype: Any = np.float64) -> float:
        return float((resolvent(x, kernel, dtype) * resolvent(y, kernel, dtype).T).sum())

    return value


class Inside:
    """A model of glass whose answers are one token a word. States are standard normal, except that a step whose word is
    `copies` repeats the state of the problem's own reference answer."""

    def __init__(self, seed: int = 0, layers: int = 3, width: int = 24, copies: str = "", scale: float = 1.0) -> None:
        self.geometry = Geometry(layers, width, 1, width, width, 10)
        self.seed, self.copies, self.scale = seed, copies, scale
        self.written: dict[str, tuple[str, ...]] = {}
        """What `generate` answers, by prompt id."""
        self.asked: list[tuple[int, bool]] = []

    def run(self, wants: Any, prompts: Any, edits: Any = ()) -> Acts:
        arrays, ragged, layers = {}, {}, {}
        for want in wants:
            chosen = tuple(range(self.geometry.layers)) if want.layers is None else want.layers
            layers[want] = chosen
            if want.text == "target":
                arrays[want] = np.stack([self._target(prompt.id)[list(chosen)][:, None] for prompt in prompts])
            else:
                ragged[want] = tuple(self._steps(prompt, want)[list(chosen)] for prompt in prompts)
        return Acts(tuple(prompt.id for prompt in prompts), arrays, layers, ragged=ragged)

    def read(self, want: Any, prompts: Any) -> tuple[tuple[str, ...], ...]:
        return tuple(self._words(prompt)[: want.positions.stop] for prompt in prompts)

    def generate(self, prompts: Any, max_tokens: int, edits: Any = (), raw: bool = False) -> tuple[Written, ...]:
        self.asked.append((max_tokens, raw))
        words = [self.written[prompt.id] for prompt in prompts]
        return tuple(
            Written(prompt.id, " ".join(one), tuple(range(len(one))), True)
            for prompt, one in zip(prompts, words, strict=True)
        )

    def _words(self, prompt: Any) -> tuple[str, ...]:
        return tuple(f" {word}" for word in prompt.answer.split())

    def _target(self, id: str) -> Any:
        rng = np.random.default_rng((self.seed, short_hash(id)))
        return (self.scale * rng.standard_normal((self.geometry.layers, self.geometry.width))).astype(np.float32)

    def _steps(self, prompt: Any, want: Any) -> Any:
        words = self._words(prompt)[: want.positions.stop]
        rng = np.random.default_rng((self.seed, short_hash(prompt.id), 1))
        states = rng.standard_normal((len(words), self.geometry.layers, self.geometry.width)).transpose(1, 0, 2)
        states = (self.scale * states).astype(np.float32)
        for place, word in enumerate(words):
            if word.strip() == self.copies:
                states[:, place] = self._target(prompt.id)
        return states


@pytest.fixture
def glass() -> type[Inside]:
    return Inside


@dataclass(frozen=True)
class World:
    evidence: Evidence
    inside: Inside
    diagnostic: MIPeaks

    def diagnose(self) -> Diagnosis:
        wants = self.diagnostic.wants(self.evidence, self.inside.geometry)
        acts = self.inside.run(wants, self.evidence.prompts)
        return self.diagnostic.diagnose(self.evidence, acts, self.inside)  # type: ignore[arg-type]


@pytest.fixture
def filler() -> Callable[[int, int], str]:
    """An answer of so many words, each of ten as likely as the others."""

    def build(number: int, steps: int) -> str:
        return " ".join(f"w{draw}" for draw in np.random.default_rng(number).integers(10, size=steps))

    return build


@pytest.fixture
def world() -> Callable[..., World]:
    def build(
        *,
        answers: Sequence[str],
        targets: Sequence[str | None] | None = None,
        verdicts: Sequence[str] | None = None,
        clusters: Sequence[str] | None = None,
        inside: Inside | None = None,
        **options: object,
    ) -> World:
        samples = tuple(
            Sample(
                id=f"s{number:02}",
                messages=(user(f"problem {number}"),),
                target=f"solution {number}" if targets is None else targets[number],
                group=clusters[number] if clusters else None,
            )
            for number in range(len(answers))
        )
        records = tuple(
            Record(
                dataset="d",
                sample=sample,
                output=Output(text=answer) if answer != "ERROR" else Output(stop="error", error="broken"),
                judgements=(Judgement(judge="j", label=verdicts[number]),) if verdicts else (),
            )
            for number, (sample, answer) in enumerate(zip(samples, answers, strict=True))
        )
        diagnostic = MIPeaks.model_validate({"permutations": 40, "resamples": 200, **options})
        return World(Evidence(samples, records), inside or Inside(), diagnostic)

    return build
