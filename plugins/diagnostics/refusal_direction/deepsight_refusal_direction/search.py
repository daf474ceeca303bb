"""The search for the direction: fitted everywhere, screened cheaply, and the best of them chosen with care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepsight_causal import RefusalTokens, cosine

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Inside
from deepsight_refusal_direction.candidates import Bench, Candidate, Place, Trial, choose, fitted, ranked
from deepsight_refusal_direction.samples import Ints, Samples


@dataclass(frozen=True, eq=False)
class Found:
    """The chosen direction and what it was chosen from."""

    chosen: Trial
    passed: bool
    """Whether it passed the published filter."""
    screened: tuple[Trial, ...]
    candidates: int
    """Directions that were fitted."""
    rows: Ints
    """The samples that they were fitted on."""
    filtered: bool
    """Whether those were chosen by behaviour."""
    beside: tuple[Candidate, ...]
    """Those of the same layer at the other positions."""

    def cosines(self) -> dict[str, float]:
        """With the chosen direction, by position."""
        return {other.position: float(cosine(other.vector, self.chosen.candidate.vector)) for other in self.beside}


def search(
    inside: Inside,
    samples: Samples,
    tokens: RefusalTokens,
    places: Sequence[Place],
    *,
    stride: int,
    screen: int,
    finalists: int,
    most: int,
    seed: int,
) -> Found:
    """Screens every `stride`-th layer, from the deepest, on `screen` samples a side; measures the best on `most`.

    Raises DiagnosticError where no direction can be fitted.
    """
    rows, filtered = samples.as_expected()
    candidates = fitted(places, samples, rows, seed)
    if not candidates:
        raise DiagnosticError("both sides have the same activations at every place; name other positions or layers")
    deepest = max(candidate.layer for candidate in candidates)
    rough = Bench(inside, samples, tokens, screen, deep=False)
    screened = [rough.try_out(one) for one in candidates if (deepest - one.layer) % stride == 0]
    fine = Bench(inside, samples, tokens, most, deep=True)
    trials = [fine.try_out(trial.candidate) for trial in ranked(screened)[:finalists]]
    chosen, passed = choose(trials)
    at = chosen.candidate
    beside = tuple(one for one in candidates if one.layer == at.layer and one.position != at.position)
    return Found(chosen, passed, tuple(screened), len(candidates), rows, filtered, beside)
