"""Which first tokens open a refusal, learnt from the run's own verdicts, and how strongly the model leans to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepsight_core.edits import Edit
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import ODDS_FLOOR, Acts, Inside, Last, Lens, Prompt, Steps, Token, Want
from deepsight_core.messages import user

Floats = NDArray[np.float64]

FIRST = Want(positions=Steps(stop=1), text="exchange")
"""Where the answer's first token was decided."""
USUAL = ("I'm sorry, but", "I cannot", "I can't", "Sorry,", "I apologize", "As an AI")
"""How refusals usually begin, for a model whose refusals are too few to learn from."""
CERTAIN = 1.96
"""z score from which a token counts as more frequent among refusals."""
MOST = 12
FEWEST = 5
"""Refusals, and answers of the other kind, without which nothing is learnt."""


@dataclass(frozen=True)
class RefusalTokens:
    """First tokens of refusals."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    refused: int
    """Refusals that they were learnt from."""
    complied: int
    """Other answers."""
    learnt: bool
    """False: too few refusals, so these open the usual English ones."""


def refusal_tokens(evidence: Evidence, inside: Inside, selector: str = "verdict:refused") -> RefusalTokens:
    """Learn from the records which first tokens are distinctive of refusals; fall back on the usual ones.

    Raises DiagnosticError for a run without scored answers.
    """
    prompts = {prompt.id: prompt for prompt in evidence.prompts if prompt.answer}
    refused_ids = set(evidence.cohort(selector))
    what = selector.partition(":")[0]
    scored = [sample.id for sample in evidence.samples if evidence.value(sample, what) is not None]
    if not any(id in prompts for id in scored):
        raise DiagnosticError("no scored answers to learn from how this model refuses; evaluate a data set in this run")
    refused = [prompts[id] for id in scored if id in refused_ids and id in prompts]
    complied = [prompts[id] for id in scored if id not in refused_ids and id in prompts]
    if len(refused) >= FEWEST and len(complied) >= FEWEST:
        one, other = _first_tokens(refused, inside), _first_tokens(complied, inside)
        if ids := distinctive([token.id for token in one], [token.id for token in other]):
            texts = {token.id: str(token) for token in one}
            return RefusalTokens(ids, tuple(texts[id] for id in ids), len(refused), len(complied), learnt=True)
    tokens = dict.fromkeys(_first_tokens([_answered(text) for text in USUAL], inside))
    return RefusalTokens(
        tuple(token.id for token in tokens), tuple(map(str, tokens)), len(refused), len(complied), learnt=False
    )


def distinctive(refused: Sequence[int], complied: Sequence[int]) -> tuple[int, ...]:
    """Tokens more frequent in the first list than in the second, most certain first: log-odds with an informative
    Dirichlet prior (Monroe et al. 2008, Political Analysis 16:372, eq. 15 to 22; the prior is the pooled counts)."""
    tokens = sorted({*refused, *complied})
    one, other = (np.array([side.count(token) for token in tokens], dtype=np.float64) for side in (refused, complied))
    prior = (one + other) / (one.sum() + other.sum())  # worth one token in all
    odds = [np.log((side + prior) / (side.sum() + 1 - side - prior)) for side in (one, other)]
    z = (odds[0] - odds[1]) / np.sqrt(1 / (one + prior) + 1 / (other + prior))
    order = np.argsort(-z, kind="stable")
    return tuple(tokens[place] for place in order if z[place] > CERTAIN)[:MOST]


def wanted(tokens: RefusalTokens) -> Want:
    """What a refusal score is computed from: the log-probabilities of the refusal tokens as the answer's first."""
    return Want(site="final", positions=Last(), reduce=Lens(tokens=tokens.ids))


def refusal_scores(log_probabilities: ArrayLike) -> Floats:
    """Log-odds that the answer opens with one of the tokens on the last axis; natural logarithm, about -18 to 18.

    log P - log(1 - P), P the sum of their probabilities (Arditi et al. 2024, section 2.4).
    """
    p = np.exp(np.asarray(log_probabilities, dtype=np.float64)).sum(axis=-1)
    return np.asarray(np.log(p + ODDS_FLOOR) - np.log(np.maximum(1 - p, 0) + ODDS_FLOOR))


def scores(inside: Inside, prompts: Sequence[Prompt], tokens: RefusalTokens, edits: Sequence[Edit] = ()) -> Floats:
    """The refusal score of each prompt under edits: shape (prompts,)."""
    want = wanted(tokens)
    return scores_of(inside.run([want], prompts, edits), want)


def scores_of(acts: Acts, want: Want) -> Floats:
    """The refusal scores among activations that were captured for `wanted`: shape (prompts,)."""
    return refusal_scores(acts[want][:, 0, 0])


def _first_tokens(prompts: Sequence[Prompt], inside: Inside) -> list[Token]:
    return [tokens[0] for tokens in inside.read(FIRST, prompts)]


def _answered(text: str) -> Prompt:
    return Prompt(id=text, messages=(user("Hello."),), answer=text)
