"""Scores of neurons: planted ones rank first, models of one kind do not differ, and enrichment knows its chance."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_safety_neurons.scores import changes, contrasts, enrichment, like, top

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Acts, Geometry, Prompt, Want
from deepsight_core.messages import user
from deepsight_core.testing import GlassInside


def prompts(count: int = 12) -> list[Prompt]:
    return [Prompt(id=f"s{n}", messages=(user("word " * 3),), answer="one two three") for n in range(count)]


def test_a_neuron_that_was_moved_in_planted_layers_ranks_first_with_its_size():
    planted = frozenset(f"s{n}" for n in range(12))
    found = changes(GlassInside(planted, 3.0), GlassInside(), prompts(), tokens=8)
    assert found.values[2:, 0] == pytest.approx([3.0, 3.0], rel=1e-5) and found.values[:2].max() == 0
    assert np.argwhere(top(found.values, 2 / 128)).tolist() == [[2, 0], [3, 0]]
    assert (found.relative[:2] == 0).all() and (found.relative[2:] > 0).all()


def test_change_scores_are_those_of_all_tokens_at_once():
    planted = frozenset({"s1", "s5"})
    mine, other = GlassInside(planted, 2.0), GlassInside()
    found = changes(mine, other, prompts(), tokens=2)
    want = Want(site="neuron", positions={"type": "steps", "stop": 2}, text="exchange")
    a, b = (np.concatenate(inside.run([want], prompts()).each(want), axis=1) for inside in (mine, other))
    assert found.values == pytest.approx(np.sqrt(((a - b) ** 2).mean(axis=1)), abs=1e-6)


def test_models_of_another_shape_cannot_be_compared():
    class Other(GlassInside):
        geometry = Geometry(layers=4, width=16, heads=2, head_width=8, neurons=64, vocabulary=100)

    with pytest.raises(DiagnosticError, match="only two versions of one model compare"):
        changes(GlassInside(), Other(), prompts(), tokens=2)


def test_contrasts_are_standardised_mean_differences():
    planted = frozenset(f"s{n}" for n in range(6))
    inside = GlassInside(planted, 4.0)
    found = contrasts(inside, prompts()[:6], prompts()[6:])
    want = Want(site="neuron")
    acts: Acts = inside.run([want], prompts())
    x = acts[want][:, :, 0].astype(float)
    pooled = np.sqrt((x[:6].var(axis=0, ddof=1) + x[6:].var(axis=0, ddof=1)) / 2)
    assert found.values == pytest.approx(np.abs(x[:6].mean(0) - x[6:].mean(0)) / pooled, rel=1e-4)
    assert found.values.argmax(axis=1)[2:].tolist() == [0, 0] and found.means.shape == (4, 32)


def test_random_neurons_are_as_many_of_the_same_layers_and_none_of_the_chosen():
    chosen = np.zeros((3, 20), dtype=bool)
    chosen[0, :4] = chosen[2, 5] = True
    drawn = like(chosen, np.random.default_rng(0))
    assert drawn.sum(axis=1).tolist() == [4, 0, 1] and not (drawn & chosen).any()


def test_enrichment_of_neurons_drawn_at_random_stays_within_its_band():
    outside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values, null = enrichment(top(rng.normal(size=(6, 100)), 0.1), 200, seed)
        largest = np.abs(null - 1).max(axis=0)
        outside += np.abs(values - 1).max() > np.quantile(largest, 0.95)
    assert outside <= 10, "five are expected"
