"""A model of glass: it answers like the scripted one and shows made-up activations with a direction planted in them.

The direction is the first coordinate of the residual stream. It does what a refusal direction does: a text whose last
state has more than half of the planted strength along it is answered by a refusal, so that edits change answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepsight_core.components import Capability
from deepsight_core.edits import Edit
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import (
    Acts,
    Array,
    ClassMoments,
    DirectEffects,
    Floats,
    Geometry,
    Inside,
    Last,
    Lens,
    MeanTokens,
    Moments,
    NextToken,
    Project,
    Prompt,
    Steps,
    Token,
    TopK,
    Want,
    Written,
)
from deepsight_core.protocol import Site, short_hash
from deepsight_core.testing.fakes import ScriptedModel
from deepsight_core.testing.glass_direct import fake_effects
from deepsight_core.testing.glass_edits import STREAM, WRITERS, changed, check_uniform
from deepsight_core.testing.glass_texts import Reading, places, read
from deepsight_core.testing.glass_weights import fake_importance
from deepsight_core.wants import varies
from deepsight_core.weights import Importance, Part

GEOMETRY = Geometry(layers=4, width=16, heads=2, head_width=8, neurons=32, vocabulary=100, context=512, family="glass")
PLANTED_FROM = 2
UNLAYERED = ("embed", "final", "logits")
LAYERED = ("resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron")
READABLE = ("embed", "resid_in", "resid_mid", "resid_out", "final")
REFUSAL, ANSWER = "I'm sorry, but I cannot help with that.", "Sure, here it is."


class GlassModel(ScriptedModel):
    """A scripted model that can be looked into."""

    name = "glass"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"text", "loglikelihood", "whitebox"})
    planted: tuple[str, ...] = ()
    """Ids of prompts that are shifted along the first coordinate, from layer 2 on."""
    strength: float = 5.0

    def inside(self, store: Path | None = None) -> Inside:
        return GlassInside(frozenset(self.planted), self.strength)


class GlassInside:
    """Standard normal activations that depend on nothing but the prompt's id, site, layer and position. A token is a
    word; what several texts of a prompt begin with, they share."""

    geometry = GEOMETRY

    def __init__(self, planted: frozenset[str] = frozenset(), strength: float = 5.0) -> None:
        self.planted, self.strength = planted, strength
        self.passes = 0
        """How often `run` was called."""
        self.masks: list[Mapping[tuple[str, int | None], NDArray[np.int64]]] = []
        """What was masked, in the order of the calls."""
        self._open: list[Edit] = []

    def run(self, wants: Sequence[Want], prompts: Iterable[Prompt], edits: Sequence[Edit] = ()) -> Acts:
        self.passes += 1
        prompts = list(prompts)
        layers = {want: self._layers(want) for want in wants}
        seen = {want: [self._each(want, prompt, (*self._open, *edits)) for prompt in prompts] for want in wants}
        rows = {want: arrays for want, arrays in seen.items() if not isinstance(want.collect, ClassMoments)}
        varying = {want for want in rows if _varies(want)}
        return Acts(
            ids=tuple(prompt.id for prompt in prompts) if rows or not wants else (),
            arrays={want: self._stacked(want, arrays) for want, arrays in rows.items() if want not in varying},
            layers=layers,
            lengths={want.text: np.array([len(read(p, want).words) for p in prompts], np.int64) for want in rows},
            error=0.0,
            captured={"computed": len(prompts)},
            ragged={want: tuple(rows[want]) for want in rows if want in varying},
            moments={want: _moments(want, seen[want], prompts) for want in wants if want not in rows},
        )

    @contextmanager
    def ride(self, wants: Sequence[Want], prompts: Sequence[Prompt]) -> Iterator[None]:
        for want in wants:
            self._layers(want)
        yield

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        by = 1 if isinstance(want.positions, Steps) else 0
        texts = [(text := self._text(prompt, want), places(want.positions, text, prompt.id)) for prompt in prompts]
        return tuple(tuple(token(text.words[place + by]) for place in where) for text, where in texts)

    def gradients(
        self, wants: Sequence[Want], prompts: Sequence[Prompt], tokens: Sequence[int], edits: Sequence[Edit] = ()
    ) -> Acts:
        """At the last token of the stream and of what writes to it, what the score would gain; 0 elsewhere."""
        acts, slopes = self.run(wants, prompts, edits), []
        for prompt in prompts:
            state = self._each(Want(site="final"), prompt, (*self._open, *edits))[0, 0]
            slopes.append(_slope(state.astype(float), tokens))

        def slope(want: Want, row: int, array: Array) -> Array:
            out = np.zeros_like(array)
            last = len(self._text(prompts[row], want).words) - 1
            for place, token in enumerate(places(want.positions, self._text(prompts[row], want), prompts[row].id)):
                if token == last and want.site in (*STREAM, *WRITERS, "final"):
                    out[:, place] = slopes[row]
            return out

        each = {want: tuple(slope(want, row, array) for row, array in enumerate(acts.each(want))) for want in wants}
        arrays = {want: np.stack(found) for want, found in each.items() if want in acts.arrays}
        ragged = {want: found for want, found in each.items() if want in acts.ragged}
        return replace(acts, arrays=arrays, ragged=ragged)

    def direct(
        self,
        prompts: Sequence[Prompt],
        positive: Sequence[int],
        negative: Sequence[int],
        *,
        top: int = 0,
        weights: Sequence[float] | None = None,
        neurons: Sequence[Site] = (),
    ) -> DirectEffects:
        """Standard normal numbers; head 0 of the first layer that is planted gives all of the planted strength."""
        return fake_effects(prompts, self.planted, self.strength, PLANTED_FROM, top, weights, neurons)

    def generate(
        self, prompts: Sequence[Prompt], max_tokens: int, edits: Sequence[Edit] = (), raw: bool = False
    ) -> tuple[Written, ...]:
        """A refusal or an answer, as the last state of the prompt under the edits decides."""
        last = Want(site="final", raw=raw)
        written = []
        for prompt in prompts:
            state = self._each(last, prompt, (*self._open, *edits))[0, 0]
            words = (REFUSAL if state[0] > self.strength / 2 else ANSWER).split()
            tokens = tuple(token(word).id for word in words[:max_tokens])
            written.append(Written(prompt.id, " ".join(words[:max_tokens]), tokens, len(words) <= max_tokens))
        return tuple(written)

    @contextmanager
    def edited(self, edits: Sequence[Edit]) -> Iterator[None]:
        check_uniform(edits)
        before, self._open = self._open, [*self._open, *edits]
        try:
            yield
        finally:
            self._open = before

    def importance(
        self,
        cohorts: Mapping[str, Sequence[Prompt]],
        *,
        depth: float,
        blocks: int = 1,
        parts: Sequence[Part] = ("mlp",),
        layers: Sequence[int] | None = None,
        raw: bool = False,
        drop_first: bool = False,
    ) -> Importance:
        """Scores that depend on nothing but the names of cohorts and matrices."""
        return fake_importance(cohorts, depth, blocks, parts, range(GEOMETRY.layers) if layers is None else layers)

    @contextmanager
    def masked(self, entries: Mapping[tuple[str, int | None], NDArray[np.int64]]) -> Iterator[None]:
        """Nothing changes; `masks` remembers."""
        self.masks.append(entries)
        yield

    def _layers(self, want: Want) -> tuple[int | None, ...]:
        if want.site in UNLAYERED:
            return (None,)
        if want.site not in LAYERED:
            raise DiagnosticError(f"this model has no site {want.site}")
        chosen = tuple(range(GEOMETRY.layers)) if want.layers is None else want.layers
        for layer in chosen:
            if not 0 <= layer < GEOMETRY.layers:
                raise DiagnosticError(f"layer {layer} is out of range: the model has layers 0 to {GEOMETRY.layers - 1}")
        return chosen

    def _text(self, prompt: Prompt, want: Want) -> Reading:
        text = read(prompt, want)
        if GEOMETRY.context is not None and len(text.words) > GEOMETRY.context:
            raise DiagnosticError(f"prompt {prompt.id!r}: {len(text.words)} tokens exceed the context")
        return text

    def _each(self, want: Want, prompt: Prompt, edits: Sequence[Edit]) -> Array:
        """(layers, positions, width) of one prompt."""
        text = self._text(prompt, want)
        where = list(places(want.positions, text, prompt.id))
        layers = self._layers(want)
        vectors = np.stack([self._vectors(want, layer, prompt, text, edits)[where] for layer in layers])
        decided = [token(text.words[place + 1]).id for place in where] if isinstance(want.reduce, NextToken) else []
        return _reduced(want, vectors, decided).astype(np.float32)

    def _vectors(self, want: Want, layer: int | None, prompt: Prompt, text: Reading, edits: Sequence[Edit]) -> Floats:
        """(tokens, width) at one site."""
        site = "final" if want.site == "logits" else want.site
        aim = "/target" if want.text == "target" else ""
        random = np.random.default_rng(short_hash(f"{prompt.id}/{site}/{layer}{aim}"))
        vectors = random.normal(size=(len(text.words), _width(site)))
        if prompt.id in self.planted and (site == "final" or (layer is not None and layer >= PLANTED_FROM)):
            vectors[:, 0] += self.strength
        answer = text.response[0] or len(text.words)
        vectors = changed(vectors, site, layer, prompt.id, edits, answer)
        return _logits(vectors) if want.site == "logits" else vectors

    def _stacked(self, want: Want, arrays: Sequence[Array]) -> Array:
        if arrays:
            return np.stack(arrays)
        positions = want.positions.k if isinstance(want.positions, Last) and not _mean(want) else 1
        return np.empty((0, len(self._layers(want)), positions, GEOMETRY.width), np.float32)


def token(word: str) -> Token:
    """A word with its number in the vocabulary."""
    return Token(word, short_hash(word) % GEOMETRY.vocabulary)


def _mean(want: Want) -> bool:
    return isinstance(want.reduce, MeanTokens)


def _varies(want: Want) -> bool:
    return varies(want.positions) and not _mean(want)


def _width(site: str) -> int:
    return {"head": GEOMETRY.heads * GEOMETRY.head_width, "neuron": GEOMETRY.neurons}.get(site, GEOMETRY.width)


def _logits(vectors: Floats) -> Floats:
    """(..., width) -> (..., vocabulary). The planted direction makes the first word of a refusal the likeliest."""
    weights = np.random.default_rng(0).normal(0, 0.05, size=(GEOMETRY.width, GEOMETRY.vocabulary))
    first, other = token(REFUSAL.split()[0]).id, token(ANSWER.split()[0]).id
    weights[:, [first, other]] = 0
    weights[0, first] = 1
    logits: Floats = vectors @ weights
    logits[..., other] = 2.5
    return logits


def _slope(state: Floats, tokens: Sequence[int]) -> Floats:
    """The gradient of the log-odds of some tokens with respect to the last state."""
    logits, weights = _logits(state), _logits(np.eye(GEOMETRY.width)) - _logits(np.zeros(GEOMETRY.width))
    p = np.exp(logits - np.log(np.exp(logits).sum()))
    chosen = np.isin(np.arange(len(p)), tokens)
    total = p[chosen].sum()
    return np.asarray(weights @ (p * (chosen - total)) * (1 / (total + 1e-8) + 1 / (1 - total + 1e-8)))


def _reduced(want: Want, vectors: Floats, decided: Sequence[int]) -> Floats:
    """(layers, positions, width) -> what is kept of it. `decided` are the tokens that follow the positions."""
    reduce = want.reduce
    if isinstance(reduce, MeanTokens):
        return np.asarray(vectors.mean(axis=1, keepdims=True))
    if isinstance(reduce, Project):
        return np.asarray(vectors @ np.array(reduce.vectors).T)
    if not isinstance(reduce, Lens | TopK | NextToken):
        return vectors
    if want.site not in READABLE:
        raise DiagnosticError(f"{want.site} cannot be read as tokens")
    logits = _logits(vectors)
    values = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    if isinstance(reduce, Lens):
        return np.asarray(values[..., list(reduce.tokens)])
    if isinstance(reduce, NextToken):
        return np.asarray(values[:, np.arange(len(decided)), decided][..., None])
    best = np.argsort(-values, axis=-1, kind="stable")[..., : reduce.k]
    return np.concatenate([np.take_along_axis(values, best, -1), best.astype(float)], axis=-1)


def _moments(want: Want, arrays: Sequence[Array], prompts: Sequence[Prompt]) -> Moments:
    assert isinstance(want.collect, ClassMoments)
    classes: dict[str, list[Any]] = {}
    for prompt, array in zip(prompts, arrays, strict=True):
        if (label := prompt.labels.get(want.collect.by)) is not None:
            classes.setdefault(str(label), []).append(array.astype(np.float64))
    names = tuple(sorted(classes))
    return Moments(
        names,
        np.array([len(classes[name]) for name in names], dtype=np.int64),
        np.array([np.mean(classes[name], axis=0) for name in names]),
        np.array([np.var(classes[name], axis=0) for name in names]),
    )
