"""The component: where classes part, which window is needed for refusal, and the order in which this is found out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_causal import Cases, RefusalTokens, Split, cases, effect, losses, neutral_prompts, refusal_tokens, split
from pydantic import Field

from deepsight_core.change import verdict_change
from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, vectors
from deepsight_core.errors import DiagnosticError, RunMismatch
from deepsight_core.evidence import Evidence
from deepsight_core.inside import Acts, Geometry, Inside, Last, Want
from deepsight_core.protocol import Diagnosis, Finding
from deepsight_core.scoring import Comparison
from deepsight_core.statistics import permutation_p
from deepsight_safety_layers import findings
from deepsight_safety_layers.angles import Ints, Pairs, angles
from deepsight_safety_layers.findings import Tested
from deepsight_safety_layers.skipping import Bench, Tried, Window, choose, skipping, tried, windows


class SafetyLayers(Diagnostic):
    """At which layers do harmful requests part from harmless ones, and which layers does refusal need?

    Angles between pairs over the layers (Li et al. 2024, arXiv:2408.17003), corrected for the spread of the classes;
    then single layers and windows of layers are left out, and refusal is measured again. The cohorts are the run's
    contrast; its positive side is what should be refused.
    """

    name = "safety-layers"
    layers: tuple[int, ...] | None = Field(None, min_length=1)
    """Decoder blocks whose output the angles are measured at, from 0; None for all."""
    window: int | None = Field(None, ge=1)
    """How many neighbouring blocks are left out together; None for a tenth of the model's."""
    factor: float = Field(0.0, ge=0)
    """What a block adds to the residual stream is multiplied by this; 0 leaves the block out."""
    most: int = Field(8, ge=2)
    """Samples a side that windows are compared on."""
    neutral: int = Field(8, ge=1, le=40)
    """Neutral questions that the cost of a window is measured on."""
    controls: int = Field(24, ge=5)
    """Other windows of the same length, drawn at random, that the chosen one is compared with; the smallest p is
    1 / (controls + 1)."""
    behaviour: bool = True
    """Ask held-out samples again without the chosen window, and have the answers judged."""
    ask: int = Field(40, ge=1)
    """Held-out samples a side that are scored and asked again, at most."""
    permutations: int = Field(200, ge=20)
    """Shuffled labels behind the null bands of the angles."""
    resamples: int = Field(500, ge=100)
    refused: str = "verdict:refused"
    """The verdict that counts as a refusal."""
    seed: int = 0

    @property
    def _want(self) -> Want:
        return Want(layers=self.layers, positions=Last())

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [self._want]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            given = cases(evidence, self.refused)
            tokens = refusal_tokens(evidence, inside, self.refused)
            parts = split(given.y, given.groups, self.seed)
            states = vectors(acts, self._want, given.ids)
            found = angles(states, Pairs(given.y, given.groups, self.permutations, self.resamples, self.seed))
            layers = [layer for layer in acts.layers[self._want] if layer is not None]
            singles, searched = self._searched(inside, given, parts, tokens)
            tested = self._tested(inside, given, parts, tokens, searched)
            rates, told = self._asked_again(evidence, inside, given, parts, tested)
            return Diagnosis(
                diagnostic=self.name,
                summary=findings.conclusion(found, layers, tested, rates, tokens),
                findings=(
                    *findings.causal(tested, given.ids),
                    *rates,
                    *findings.angle_profile(found, layers, len(given.ids)),
                    *findings.skip_profile(singles, "skipping one block", self._count(given, parts)),
                    *findings.skip_profile(
                        searched, f"skipping a window of {len(tested.window)}", self._count(given, parts)
                    ),
                ),
                caveats=(*self._caveats(given, parts, tokens, searched), *told),
            )

    def _searched(
        self, inside: Inside, given: Cases, parts: Split, tokens: RefusalTokens
    ) -> tuple[list[Tried], list[Tried]]:
        """Every block by itself, and every window, on the part to choose on."""
        count = inside.geometry.layers
        length = self.window or max(1, count // 10)
        if length >= count:
            raise DiagnosticError(f"window is {length}, but the model has {count} blocks: leave some in place")
        bench = self._bench(inside, given, self._sides(given, self._choosing(parts), self.most), tokens)
        singles = [tried(bench, window) for window in windows(count, 1)]
        return singles, singles if length == 1 else [tried(bench, window) for window in windows(count, length)]

    def _tested(
        self, inside: Inside, given: Cases, parts: Split, tokens: RefusalTokens, searched: Sequence[Tried]
    ) -> Tested:
        """The chosen window on samples that it was not chosen on, beside others of its length."""
        chosen = choose(searched).window
        bench = self._bench(inside, given, self._sides(given, parts.report, self.most), tokens)
        own = tried(bench, chosen)
        others = [one.window for one in searched if one.window != chosen]
        drawn = np.random.default_rng(self.seed).permutation(len(others))[: self.controls]
        controls = [tried(bench, others[place]) for place in sorted(drawn)]
        rows = self._sides(given, parts.report, self.ask)
        whole = self._bench(inside, given, rows, tokens)
        after = whole.without(chosen)
        questions = neutral_prompts()[: self.neutral]
        edits = skipping(chosen, self.factor)
        return Tested(
            chosen,
            rows,
            effect(whole.before.harmful, after.harmful, given.groups[rows[0]], seed=self.seed),
            effect(whole.before.harmless, after.harmless, given.groups[rows[1]], seed=self.seed),
            effect(losses(inside, questions), losses(inside, questions, edits), range(len(questions)), seed=self.seed),
            float(whole.before.harmful.mean()),
            float(whole.before.harmless.mean()),
            own,
            tuple(controls),
            permutation_p(-own.harmful, [-one.harmful for one in controls]),
        )

    def _asked_again(
        self, evidence: Evidence, inside: Inside, given: Cases, parts: Split, tested: Tested
    ) -> tuple[list[Finding], list[str]]:
        """Refusals without the chosen window, and without the other one whose cost is nearest to its."""
        if not self.behaviour or evidence.again is None:
            why = "behaviour = false" if not self.behaviour else "this run evaluates nothing that could be"
            return [], [f"Nobody was asked again ({why}): scores of the first token are all that is known."]
        match = min(tested.controls, key=lambda one: abs(one.divergence - tested.own.divergence)).window
        found: list[Finding] = []
        for side, rows in zip(("positive", "negative"), tested.rows, strict=True):
            ids = [given.ids[row] for row in rows if given.refused[row] is not None]
            try:
                changes = [self._change(evidence, inside, side, window, ids) for window in (tested.window, match)]
            except (RunMismatch, DiagnosticError):
                return [], [f"No {side} sample could be asked again and judged, so the effect on answers is unknown."]
            found += findings.conducted(side, tested.window, match, changes)
        return found, []

    def _change(self, evidence: Evidence, inside: Inside, side: str, window: Window, ids: Sequence[str]) -> Comparison:
        assert evidence.again is not None
        name = f"{side} without {window[0]} to {window[-1]}"
        repeat = evidence.again(name, inside.edited(skipping(window, self.factor)), ids)
        return verdict_change(repeat, self.refused.partition(":")[2], evidence.judge, ids, self.seed)

    def _bench(self, inside: Inside, given: Cases, rows: tuple[Ints, Ints], tokens: RefusalTokens) -> Bench:
        asked = (given.asked(rows[0]), given.asked(rows[1]))
        return Bench(inside, asked, tokens, self.neutral, self.factor)

    def _choosing(self, parts: Split) -> Ints:
        return np.sort(np.concatenate([parts.fit, parts.choose]))

    def _sides(self, given: Cases, part: Ints, most: int) -> tuple[Ints, Ints]:
        return given.drawn(part[given.y[part] == 1], most), given.drawn(part[given.y[part] == 0], most)

    def _count(self, given: Cases, parts: Split) -> int:
        return len(self._sides(given, self._choosing(parts), self.most)[0])

    def _caveats(self, given: Cases, parts: Split, tokens: RefusalTokens, searched: Sequence[Tried]) -> list[str]:
        told = [
            "Angles are correlational: that classes part at a layer does not say that the model acts on it there.",
            f"Angles rest on all {len(given.ids)} samples and nothing in them was chosen. The window was chosen among "
            f"{len(searched)} on {len(self._choosing(parts))} samples (at most {self.most} a side) and is reported on "
            f"{len(parts.report)} others; no cluster is in both.",
            "A model without some of its blocks is another model: read the change of the refusal score beside that of "
            "harmless prompts and the loss on neutral text.",
            "The refusal score is the log-odds that the answer opens with one of: "
            + ", ".join(repr(text) for text in tokens.texts)
            + ".",
        ]
        if not tokens.learnt:
            told.append(
                f"The model refused {tokens.refused} of {tokens.refused + tokens.complied} times, too rarely to learn "
                "how it refuses: the usual English openings stand in."
            )
        return told
