"""Silencing: what is edited, what it is compared with, and when it counts as causal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deepsight_logit_attribution.silencing import neurons_beside, silence, silenced

from deepsight_core.edits import Edit, Scale
from deepsight_core.protocol import Site
from deepsight_core.testing.glass import GEOMETRY

HEADS = tuple(Site(kind="head", layer=layer, head=head) for layer in range(4) for head in range(2))
CAUSE = (HEADS[3], HEADS[6])
BEFORE = np.linspace(0, 1, 12)


def scores(edits: Sequence[Edit]) -> np.ndarray:
    """Only layer 1's head 1 matters."""
    hit = any(isinstance(e, Scale) and e.layers == (1,) and e.units and 1 in e.units for e in edits)
    return BEFORE - 3 * hit


def test_parts_of_one_layer_are_one_edit() -> None:
    edits = silence((HEADS[3], HEADS[2], HEADS[6]))
    assert [(edit.layers, edit.units) for edit in edits] == [((1,), (0, 1)), ((3,), (0,))]


def test_what_lowers_the_score_more_than_random_parts_is_causal() -> None:
    found = silenced(CAUSE, HEADS, BEFORE, scores, np.arange(12), draws=19, seed=0)
    assert found.effect.value == -3
    assert found.random == (0.0,) * 19
    assert found.confirmed and found.p == 1 / 20


def test_what_random_parts_do_as_well_is_not() -> None:
    found = silenced((HEADS[0], HEADS[1]), HEADS, BEFORE, scores, np.arange(12), draws=19, seed=0)
    assert found.effect.value == 0 and min(found.random) == -3
    assert not found.confirmed


def test_random_neurons_come_from_the_same_layers() -> None:
    beside = neurons_beside([Site(kind="neuron", layer=2, unit=7)], GEOMETRY)
    assert {site.layer for site in beside} == {2} and len(beside) == GEOMETRY.neurons
