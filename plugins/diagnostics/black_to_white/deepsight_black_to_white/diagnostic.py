"""The component: what it asks to see, which questions it asks of it, and how the answers are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from deepsight_causal import RefusalTokens, refusal_tokens, scores
from numpy.typing import NDArray
from pydantic import Field

from deepsight_black_to_white.features import Ladder, ladder
from deepsight_black_to_white.findings import Answer, corrected, findings, rate, sentences, usual_layer
from deepsight_black_to_white.questions import Question, questions
from deepsight_black_to_white.study import Ascent, ascend, design
from deepsight_core.cohorts import surface
from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, folds, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, EndOfInstruction, Geometry, Inside, Last, Positions, Want
from deepsight_core.protocol import Diagnosis, Finding

_POSITIONS: dict[str, Positions] = {"last": Last(), "end-of-instruction": EndOfInstruction()}


class BlackToWhite(Diagnostic):
    """Is a failure predicted better by looking inside the model than by reading the prompt, on held-out benchmarks?

    Three rungs predict the same held-out outcomes: the prompt's text; with it, what the model is about to say; with
    both, its states. What each rung adds is compared with luck. "Nothing" is an answer.
    """

    name = "black-to-white"
    outcome: str = "failure"
    """`failure`: harmful samples that were not refused, and harmless ones that were, as two questions. Or a selector,
    `verdict:LABEL` for instance, over all samples."""
    harmful: str = "label:harmful"
    """The label that says which samples should be refused."""
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    position: Literal["last", "end-of-instruction"] = "last"
    """Where states are read: the last token of the prompt (template included), or of the user's message."""
    layers: tuple[int, ...] | None = None
    """Decoder blocks, from 0; None for all."""
    first_token: bool = True
    """Use the model's log-odds of beginning its answer as refusals do: more than text, less than states."""
    answer_words: int = Field(0, ge=0)
    """So many first words of the answer count as text; 0 predicts before anything is written."""
    folds: int = Field(5, ge=2)
    """Folds of the cross-validation; each outcome needs at least as many clusters."""
    penalties: tuple[float, ...] = Field((0.1, 1.0, 10.0, 100.0), min_length=1)
    """Ridge penalties to choose from, relative to the mean eigenvalue of the training rows' inner products."""
    permutations: int = Field(200, ge=20)
    """Shuffled outcomes of each kind; the smallest p is 1 / (permutations + 1)."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap draws behind intervals."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [self._want()]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            if not evidence.records:
                raise DiagnosticError("there are no answers to predict; evaluate a data set in this run")
            asked = questions(evidence, self.outcome, self.harmful, self.refused)
            tokens = refusal_tokens(evidence, inside, self.refused) if self.first_token else None
            answers, unanswered, caveats = [], [], []
            for question in asked:
                try:
                    fold = _folds(question, self.folds, self.seed)
                except DiagnosticError as error:
                    unanswered.append(question)
                    caveats.append(f"{question.name}: not predicted, because {error}.")
                    continue
                answers.append(self._answer(question, fold, self._ladder(evidence, question, acts, inside, tokens)))
            answers = corrected(answers)
            return Diagnosis(
                diagnostic=self.name,
                mode=self.outcome,
                summary=" ".join([*map(sentences, answers), *map(_left, unanswered)]),
                findings=(*self._findings(evidence, answers), *map(rate, unanswered)),
                table={id: row for answer in answers for id, row in _rows(answer)},
                caveats=(*caveats, *_caveats(answers, tokens)),
            )

    def _want(self) -> Want:
        return Want(site="resid_out", layers=self.layers, positions=_POSITIONS[self.position])

    def _ladder(
        self, evidence: Evidence, question: Question, acts: Acts, inside: Inside, tokens: RefusalTokens | None
    ) -> Ladder:
        want = self._want()
        layers = [layer for layer in acts.layers[want] if layer is not None]
        states = vectors(acts, want, question.ids)
        if "prompt" in acts.lengths:
            lengths = acts.lengths["prompt"][acts.rows(question.ids)]
        else:
            lengths = np.array([len(text.split()) for text in question.texts], dtype=np.int64)
        log_odds = None
        if tokens is not None:
            prompts = {prompt.id: prompt for prompt in evidence.prompts}
            log_odds = scores(inside, [prompts[id] for id in question.ids], tokens)
        return ladder(question, states, layers, lengths, log_odds, self.answer_words)

    def _answer(self, question: Question, fold: NDArray[np.int64], rungs: Ladder) -> Answer:
        def ascent(fold: NDArray[np.int64]) -> Ascent:
            plan = design(question, fold, self.penalties, self.resamples, self.seed)
            return ascend(plan, rungs, self.permutations, self.seed)

        return Answer(question, ascent(fold), ascent(question.data) if _spread(question, self.folds) else None)

    def _findings(self, evidence: Evidence, answers: Sequence[Answer]) -> Iterator[Finding]:
        for answer in answers:
            question = answer.question
            sides = {
                name: [id for id, happened in zip(question.ids, question.y, strict=True) if happened == side]
                for side, name in ((1, question.name), (0, f"not ({question.name})"))
            }
            yield from findings(answer, self.position, self.seed)
            yield from surface(evidence, sides, self.resamples, self.seed)


def _folds(question: Question, count: int, seed: int) -> NDArray[np.int64]:
    yes, all_of_them = question.happened()
    if yes in (0, all_of_them):
        raise DiagnosticError(f"{yes} of {all_of_them} samples leave nothing to be told apart")
    return folds(question.y, question.groups, count, seed)


def _spread(question: Question, fewest: int) -> bool:
    """Whether two data sets at least hold both outcomes often enough to be learnt from and tested on."""
    counts = (question.happened(number) for number in range(len(question.datasets)))
    return sum(min(yes, count - yes) >= fewest for yes, count in counts) > 1


def _left(question: Question) -> str:
    yes, count = question.happened()
    return f"{yes} of {count} samples are {question.name}: too few of one kind for anything to be predicted."


def _rows(answer: Answer) -> Iterator[tuple[str, dict[str, float | str | None]]]:
    question, within = answer.question, answer.within
    columns = zip(
        question.ids, question.y, within.text.probability, within.states.probability, within.layers, strict=True
    )
    for id, happened, text, states, layer in columns:
        yield (
            id,
            {
                "outcome": question.name if happened else f"not {question.name}",
                "p from text": float(text),
                "p with states": float(states),
                "layer": layer,
            },
        )


def _caveats(answers: Sequence[Answer], tokens: RefusalTokens | None) -> list[str]:
    told = []
    if answers:
        told += [
            "That states predict an outcome does not mean that the model decides by what is read there.",
            "The text is read by words, characters and lengths; a better reader may leave less to be gained.",
            "Intervals resample held-out samples by cluster and hold the trained probes fixed.",
        ]
    for answer in answers:
        if usual_layer(answer.within) is None:
            told.append(f"{answer.question.name}: most samples were predicted without the states.")
        if answer.unseen is None:
            told.append(
                f"{answer.question.name}: fewer than two data sets hold both outcomes, so none could be held out whole."
            )
    if tokens is not None and answers:
        told.append(
            f"First tokens of refusals, learnt from {tokens.refused} refusals of this run: {', '.join(tokens.texts)}."
            if tokens.learnt
            else "Too few refusals to learn their first tokens from; the usual English openings were used."
        )
    return told
