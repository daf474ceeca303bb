"""The component: neurons are scored on one part of the samples, and replaced on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from deepsight_causal import Cases, RefusalTokens, Split, cases, effect, refusal_tokens, scores, split
from pydantic import Field

from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, shuffled_labels
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Prompt, Want
from deepsight_core.protocol import Diagnosis
from deepsight_core.statistics import permutation_p
from deepsight_safety_neurons import findings
from deepsight_safety_neurons.findings import Tested
from deepsight_safety_neurons.replacing import Editor, FromReference, Mask, ToMeans, replaced
from deepsight_safety_neurons.scores import Scores, changes, contrasts, like, top


class SafetyNeurons(Diagnostic):
    """Which MLP neurons set a safety-tuned model apart, and does its refusal need them?

    With a model bound to the role `reference`, change scores between the two on the target's own answers (Chen et al.
    2024, arXiv:2406.14144); without, how far each neuron tells the contrast's sides apart. The highest ones are then
    replaced, by the reference's activations or by the mean of negative prompts, beside as many random ones.
    """

    name = "safety-neurons"
    optional_roles: ClassVar[tuple[str, ...]] = ("reference",)
    share: float = Field(0.05, gt=0, lt=1)
    """The share of all neurons that is looked at, the highest scores first."""
    examples: int = Field(48, ge=4)
    """Answers of the fitting part that change scores are computed on, at most; positive and negative samples alike."""
    tokens: int = Field(32, ge=1)
    """Tokens of each answer, from its start."""
    most: int = Field(16, ge=2)
    """Held-out samples a side whose neurons are replaced, at most."""
    randoms: int = Field(39, ge=5)
    """Draws of as many random neurons of the same layers; the smallest p is 1 / (randoms + 1)."""
    few: int = Field(6, ge=2)
    """Positive samples that random neurons are replaced on, at most."""
    shown: int = Field(10, ge=0)
    """Neurons that are listed."""
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    seed: int = 0

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return []  # neurons are looked at a few prompts at a time, and summed up

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            given = cases(evidence, self.refused)
            tokens = refusal_tokens(evidence, inside, self.refused)
            parts = split(given.y, given.groups, self.seed)
            reference = evidence.others.get("reference")
            fit = np.sort(np.concatenate([parts.fit, parts.choose]))
            control: Scores | None = None
            editor: Editor
            if reference is None:
                found, control = self._contrasts(inside, given, fit)
                editor = ToMeans(found)
            else:
                found = changes(inside, reference, self._answered(given, fit), self.tokens)
                editor = FromReference(reference)
            chosen = top(found.values, self.share)
            tested = self._tested(inside, editor, given, parts, tokens, found, chosen)
            return Diagnosis(
                diagnostic=self.name,
                mode="one model" if reference is None else "two models",
                summary=findings.conclusion(found, chosen, tested, tokens, reference is not None),
                findings=(
                    *findings.causal(tested, given.ids),
                    *findings.profile(found, chosen, control, self.seed),
                    *findings.listed(found, chosen, self.shown),
                ),
                caveats=tuple(self._caveats(given, parts, tokens, found, reference is not None)),
            )

    def _contrasts(self, inside: Inside, given: Cases, fit: np.ndarray) -> tuple[Scores, Scores]:
        """With the labels as they are, and once with shuffled ones."""
        shuffled = shuffled_labels(given.y[fit], given.groups[fit], 1, self.seed)[:, 0]
        own, other = (
            contrasts(inside, *(given.asked(fit[y == label]) for label in (1, 0))) for y in (given.y[fit], shuffled)
        )
        return own, other

    def _answered(self, given: Cases, fit: np.ndarray) -> list[Prompt]:
        rows = [row for row in fit if (given.prompts[row].answer or "").strip()]
        if not rows:
            raise DiagnosticError("no sample has an answer to be read: evaluate a data set in this run")
        return given.asked(given.drawn(rows, self.examples))

    def _tested(
        self,
        inside: Inside,
        editor: Editor,
        given: Cases,
        parts: Split,
        tokens: RefusalTokens,
        found: Scores,
        chosen: Mask,
    ) -> Tested:
        rows = tuple(given.drawn([r for r in parts.report if given.y[r] == label], self.most) for label in (1, 0))
        prompts = [given.asked(some) for some in rows]
        before = [scores(inside, some, tokens) for some in prompts]
        everything = np.ones_like(chosen)
        sides = [
            {
                name: effect(was, replaced(inside, editor, some, tokens, mask), given.groups[mine], seed=self.seed)
                for name, mask in (("top", chosen), ("all", everything))
            }
            for some, was, mine in zip(prompts, before, rows, strict=True)
        ]
        few = slice(min(self.few, len(prompts[0])))
        own = replaced(inside, editor, prompts[0][few], tokens, chosen)
        rng = np.random.default_rng(self.seed)
        null = np.array(
            [
                (replaced(inside, editor, prompts[0][few], tokens, like(chosen, rng)) - before[0][few]).mean()
                for _ in range(self.randoms)
            ]
        )
        observed = float((own - before[0][few]).mean())
        return Tested(
            int(chosen.sum()),
            chosen.size,
            rows,
            sides[0]["top"],
            sides[1]["top"],
            sides[0]["all"],
            float(before[0].mean()),
            null,
            len(own),
            observed,
            permutation_p(-observed, -null),
        )

    def _caveats(self, given: Cases, parts: Split, tokens: RefusalTokens, found: Scores, two: bool) -> list[str]:
        told = [
            f"Neurons were scored on {found.count} {'answers' if two else 'prompts'} and replaced on held-out samples "
            f"({len(parts.report)}, at most {self.most} a side); no cluster is in both. How many to replace "
            f"({self.share:.1%} of all) was fixed in advance.",
            "The refusal score is the log-odds that the answer opens with one of: "
            + ", ".join(repr(text) for text in tokens.texts)
            + ". Nothing was generated under the edits.",
            "Random neurons are as many of the same layers, so that what is compared is which neurons of a layer, not "
            "which layers.",
        ]
        if two:
            told.append(
                "Change scores are in units of the activations, by which the published ranking goes: neurons of layers "
                "with larger activations rank higher. The relative change of a layer is free of scale."
            )
        else:
            told.append(
                "Without a second model (role `reference`), scores only say which neurons tell the two sides apart; "
                "bind one to see which neurons the tuning changed."
            )
        if not tokens.learnt:
            told.append(
                f"The model refused {tokens.refused} of {tokens.refused + tokens.complied} times, too rarely to learn "
                "how it refuses: the usual English openings stand in."
            )
        return told
