"""The component: one representation of each sample at each layer, compared between layers, cohorts and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepsight_core.cohorts import pairs
from deepsight_core.components import Diagnostic
from deepsight_core.crossfit import attributed, numbered, shuffled_labels, vectors
from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.figures import Heatmap
from deepsight_core.inside import Acts, Geometry, Inside, Last, MeanTokens, Span, Want
from deepsight_core.protocol import Diagnosis, Finding, short_hash
from deepsight_representation_similarity import findings
from deepsight_representation_similarity.cka import FEWEST, Floats, alignment, gram, grams, paired, permuted
from deepsight_representation_similarity.shape import overlap, principal, two_nn
from deepsight_representation_similarity.study import NORMAL, Estimate, Ints, Jackknife, along, of


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples sorted by id, so that nothing depends on the order of the evidence."""

    ids: tuple[str, ...]
    y: Ints
    groups: Ints
    left_out: int


class RepresentationSimilarity(Diagnostic):
    """How alike are the representations of layers, of two cohorts, and of two models?

    Debiased linear CKA (Kornblith et al. 2019, arXiv:1905.00414; Nguyen et al. 2021, arXiv:2010.15327), overlaps of
    principal subspaces, and the intrinsic dimension. The cohorts are the run's contrast: harmful against harmless, or,
    with `contrast = "label:modality=image"`, images against texts. A model bound to the role `reference` is compared
    with the target.
    """

    name = "representation-similarity"
    optional_roles: ClassVar[tuple[str, ...]] = ("reference",)
    position: Literal["last", "mean"] = "last"
    """What stands for a sample: the prompt's last token, or the mean over the words of the last user message."""
    layers: tuple[int, ...] | None = Field(None, min_length=1)
    """Decoder blocks, from 0; None for all."""
    components: int = Field(10, ge=1)
    """Principal components that span the subspaces whose overlap is measured."""
    most: int = Field(400, ge=20)
    """Of more samples, whole clusters are drawn by hash; memory grows with the square."""
    permutations: int = Field(99, ge=20)
    """Shuffled labels, and orders of the samples, behind null bands and p values."""
    spaces: int = Field(20, ge=10)
    """Shuffled labels behind the null band of the overlap of subspaces."""
    same: float = Field(0.99, gt=0, lt=1)
    """Similarity below which, with certainty, two models are said to differ at a layer."""
    seed: int = 0

    @property
    def _want(self) -> Want:
        if self.position == "last":
            return Want(layers=self.layers, positions=Last())
        return Want(layers=self.layers, positions=Span(name="user"), reduce=MeanTokens())

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [self._want]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        with attributed(self.name):
            rows = self._rows(evidence)
            states = vectors(acts, self._want, rows.ids)
            layers = [layer for layer in acts.layers[self._want] if layer is not None]
            own, jackknife = grams(states), Jackknife(rows.groups, self.seed)
            label = (evidence.contrast_by.partition(":")[2] or evidence.contrast_by).replace("=", " ")
            sides = (label, f"not {label}")
            structure = self._structure(own, rows, jackknife)
            found = [
                *findings.neighbours(self._neighbours(own, jackknife), layers, len(rows.ids)),
                *findings.structure(structure, layers, len(rows.ids), sides),
                *self._twins(evidence, rows, own, layers, sides),
                *findings.spaces(self._spaces(states, rows), layers, len(rows.ids), sides, self.components),
                *findings.dimensions(self._dimensions(states, rows, sides), layers),
            ]
            figures = [findings.layer_map("layers", alignment(own, own), layers, layers, "The target's own layers.")]
            told = findings.told_structure(structure, layers, sides)
            reference = evidence.others.get("reference")
            if reference is not None:
                more, figure, sentence = self._compared(evidence, reference, rows, states, own, jackknife, layers)
                found, told = [*more, *found], f"{sentence} {told}"
                figures.insert(0, figure)
            return Diagnosis(
                diagnostic=self.name,
                summary=told,
                findings=tuple(found),
                figures=tuple(figures),
                caveats=tuple(self._caveats(rows, jackknife, reference is not None)),
            )

    def _rows(self, evidence: Evidence) -> Rows:
        contrast = evidence.contrast()
        order = np.argsort(contrast.ids)
        clusters = {sample.id: sample.cluster for sample in evidence.samples}
        if len(order) > self.most:
            names = sorted({clusters[id] for id in contrast.ids}, key=short_hash)
            sizes = dict.fromkeys(names, 0)
            for id in contrast.ids:
                sizes[clusters[id]] += 1
            within = np.cumsum([sizes[name] for name in names]) <= self.most
            kept = {name for name, inside in zip(names, within, strict=True) if inside}
            order = np.array([row for row in order if clusters[contrast.ids[row]] in kept], dtype=np.int64)
        y = contrast.y[order]
        if min(np.bincount(y, minlength=2)) < FEWEST:
            raise DiagnosticError(f"each side of {evidence.contrast_by!r} needs {FEWEST} samples at least")
        ids = tuple(contrast.ids[row] for row in order)
        groups = numbered(contrast.groups[order])
        if groups.max() < FEWEST:
            raise DiagnosticError(f"samples span {groups.max() + 1} clusters: intervals need {FEWEST + 1} at least")
        return Rows(ids, y, groups, len(contrast) - len(ids))

    def _orders(self, count: int, draws: int) -> list[Ints]:
        rng = np.random.default_rng(self.seed)
        return [rng.permutation(count) for _ in range(draws)]

    def _neighbours(self, own: Floats, jackknife: Jackknife) -> Estimate | None:
        return along(own[:-1], own[1:], jackknife) if len(own) > 1 else None

    def _structure(self, own: Floats, rows: Rows, jackknife: Jackknife) -> Estimate:
        """Of each layer with the kernel of the labels, and with that of shuffled ones."""
        labels = gram(rows.y[:, None])[None]
        shuffled = shuffled_labels(rows.y, rows.groups, self.permutations, self.seed)
        null = alignment(own, np.stack([gram(column[:, None]) for column in shuffled.T]))
        error = jackknife.error(lambda some: alignment(of(own, some), of(labels, some))[:, 0])
        return Estimate(alignment(own, labels)[:, 0], error, null)

    def _twins(
        self, evidence: Evidence, rows: Rows, own: Floats, layers: Sequence[int], sides: tuple[str, str]
    ) -> list[Finding]:
        """Whether the two sides of the data's pairs are arranged alike among themselves."""
        place = {id: row for row, id in enumerate(rows.ids)}
        one, other = ([id for id, y in zip(rows.ids, rows.y, strict=True) if y == label] for label in (1, 0))
        found = sorted(pairs(evidence, one, other))
        if len(found) <= FEWEST:
            return []
        first, second = (np.array([place[pair[side]] for pair in found], dtype=np.int64) for side in (0, 1))
        mine, theirs = of(own, first), of(own, second)
        jackknife = Jackknife(numbered(rows.groups[first]), self.seed)
        null = permuted(mine, theirs, self._orders(len(found), self.permutations))
        estimate = Estimate(
            paired(mine, theirs), jackknife.error(lambda some: paired(of(mine, some), of(theirs, some))), null
        )
        return list(findings.twins(estimate, layers, len(found), sides))

    def _spaces(self, states: NDArray[np.float32], rows: Rows) -> Estimate:
        """Overlap of the two sides' principal subspaces, and that of sides by shuffled labels."""
        shuffled = shuffled_labels(rows.y, rows.groups, self.spaces, self.seed)
        labellings = np.column_stack([rows.y, shuffled]).T
        values = np.array(
            [
                [
                    overlap(*(principal(states[y == label, column], self.components) for label in (1, 0)))
                    for y in labellings
                ]
                for column in range(states.shape[1])
            ]
        )
        return Estimate(values[:, 0], np.full(len(values), np.nan), values[:, 1:])

    def _dimensions(
        self, states: NDArray[np.float32], rows: Rows, sides: tuple[str, str]
    ) -> dict[str, list[tuple[float | None, float | None, int]]]:
        return {
            name: [
                two_nn(states[rows.y == label, column], rows.groups[rows.y == label])
                for column in range(states.shape[1])
            ]
            for name, label in zip(sides, (1, 0), strict=True)
        }

    def _compared(
        self,
        evidence: Evidence,
        reference: Inside,
        rows: Rows,
        states: NDArray[np.float32],
        own: Floats,
        jackknife: Jackknife,
        layers: Sequence[int],
    ) -> tuple[list[Finding], Heatmap, str]:
        """The same prompts in the reference. Layers are paired by number where both models have them."""
        prompts = {prompt.id: prompt for prompt in evidence.prompts}
        acts = reference.run([self._want], [prompts[id] for id in rows.ids])
        theirs = vectors(acts, self._want, rows.ids)
        others = [layer for layer in acts.layers[self._want] if layer is not None]
        products = grams(theirs)
        count = min(len(layers), len(others))
        null = permuted(own[:count], products[:count], self._orders(len(rows.ids), 20))
        estimate = along(own[:count], products[:count], jackknife, null)
        figure = findings.layer_map(
            "target and reference", alignment(own, products), layers, others, "The target's layers and the reference's."
        )
        found = list(findings.models(estimate, layers[:count], len(rows.ids)))
        if states.shape[2] == theirs.shape[2]:
            both = [
                overlap(principal(states[:, column], self.components), principal(theirs[:, column], self.components))
                for column in range(count)
            ]
            chance = self.components / states.shape[2]
            found += findings.model_spaces(both, layers, len(rows.ids), self.components, chance)
        return found, figure, findings.told_models(estimate, layers, self.same)

    def _caveats(self, rows: Rows, jackknife: Jackknife, two: bool) -> list[str]:
        told = [
            "All of this is correlational: it says what representations share, not what the model does with it.",
            f"Intervals are {NORMAL} jackknife standard errors over {len(jackknife.kept)} parts of the clusters. "
            "Nothing was chosen: every layer is reported, and p values are corrected for all of them (largest "
            "statistic).",
            "CKA goes by the directions of largest variance: a change in small ones moves it little (Davari et al. "
            "2022).",
        ]
        if not two:
            told.append("Bind a second model to the role `reference` to see where the two part.")
        if rows.left_out:
            told.append(f"{rows.left_out} samples were left out (option most = {self.most}).")
        return told
