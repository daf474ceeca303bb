"""The reference mode does what was published, oddities included."""

from __future__ import annotations

import numpy as np
import pytest
from deepsight_mi_peaks.published import published, ragged_mean

from deepsight_core.errors import DiagnosticError


@pytest.fixture
def made(world, glass):
    inside = glass()
    inside.written = {"s00": ("First", "so", "12", "end"), "s01": ("We", "see", "so")}
    return world(answers=["unused", "unused"], inside=inside, mode="reference", layer=2)


def test_answers_are_generated_from_the_bare_problem_greedily_with_512_tokens(made):
    made.diagnose()
    assert made.inside.asked == [(512, True)]
    (want,) = made.diagnostic.wants(made.evidence, made.inside.geometry)
    assert (want.text, want.raw, want.layers) == ("target", True, (2,))


def test_the_first_value_and_the_last_token_are_dropped_so_names_are_one_step_early(dense):
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(24).astype(np.float32)
    states = rng.standard_normal((4, 24)).astype(np.float32)
    states[2] = reference  # the state that decided the third token
    found = published("s", states, reference, (" First", " so", " then", " end"))
    assert found.values == pytest.approx([dense(state, reference) for state in states[1:]], abs=1e-8)
    assert found.words == (" First", " so", " then")
    assert found.top[0] == "so"  # the second token, as published


def test_top_tokens_are_letters_only(dense):
    states = np.random.default_rng(1).standard_normal((6, 24)).astype(np.float32)
    found = published("s", states, states[0], (" a1", " 12", " So", ".", "Wait", "end"))
    assert sorted(found.top) == ["So", "Wait"]


def test_only_the_twenty_highest_values_name_tokens():
    states = np.random.default_rng(2).standard_normal((40, 24)).astype(np.float32)
    assert len(published("s", states, states[0], tuple(" word" for _ in range(40))).top) == 20


def test_counts_are_over_all_answers(made):
    diagnosis = made.diagnose()
    counts = {found.name: found.value for found in diagnosis.findings if "token" in found.name}
    assert counts == {"thinking token 'First'": 1, "thinking token 'so'": 1, "thinking token 'We'": 1,
                      "thinking token 'see'": 1}  # fmt: skip


def test_the_mean_trajectory_is_over_the_answers_that_are_as_long(made):
    assert ragged_mean([np.array([1.0, 2.0, 3.0]), np.array([3.0])]) == pytest.approx([2.0, 2.0, 3.0])
    (figure,) = made.diagnose().figures
    assert len(figure.values) == 3


def test_the_default_layer_is_31_and_a_smaller_model_says_what_to_do(world, glass):
    inside = glass()
    made = world(answers=["x"], inside=inside, mode="reference")
    with pytest.raises(DiagnosticError, match="layer 31 is out of range: this model has layers 0 to 2; set layer, -1"):
        made.diagnostic.wants(made.evidence, inside.geometry)


@pytest.mark.parametrize("words", [("one",), ("one", "two"), ()])
def test_answers_of_up_to_two_tokens_do_no_harm(world, glass, words):
    inside = glass()
    inside.written = {"s00": words, "s01": ("a", "longer", "answer")}
    diagnosis = world(answers=["x", "x"], inside=inside, mode="reference", layer=0).diagnose()
    assert diagnosis.error is None
    assert ("s00" in diagnosis.table) == (len(words) == 2)
    assert any("1 of 2 problems got an answer of one token" in text for text in diagnosis.caveats) == (len(words) < 2)


def test_a_model_that_ends_at_once_is_an_error_that_says_so(world, glass):
    inside = glass()
    inside.written = {"s00": ("end",)}
    with pytest.raises(DiagnosticError, match=r"answered no problem by more than one token.*corrected"):
        world(answers=["x"], inside=inside, mode="reference", layer=0).diagnose()
