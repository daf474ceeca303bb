"""How one of the candidates is chosen."""

from __future__ import annotations

import numpy as np
from deepsight_causal import Effect
from deepsight_refusal_direction.candidates import Candidate, Trial, choose, front, ranked


def trial(ablated: float, added: float, level: float = 1.0, divergence: float = 0.05) -> Trial:
    candidate = Candidate("last", 0, np.ones(4), np.ones((2, 4), np.float32), 1.0)
    return Trial(candidate, *(Effect(value, value, value, 1.0, 9) for value in (ablated, added)), level, divergence)


def test_of_those_that_pass_the_filter_the_one_that_lowers_the_score_the_most_is_chosen():
    good, better, divergent, weak = trial(-3, 2), trial(-4, 1), trial(-9, 9, divergence=0.2), trial(-8, 1, level=-0.1)
    assert choose([good, better, divergent, weak]) == (better, True)


def test_where_none_passes_the_best_ranked_of_the_front_is_chosen():
    one, beaten, other = trial(-9, 9, divergence=2), trial(-8, 1, divergence=3), trial(-2, 3, divergence=1)
    assert front([one, beaten, other]) == [one, other]
    assert choose([beaten, one, other]) == (one, False)


def test_screening_ranks_without_the_divergence():
    trials = [trial(-1, 1, divergence=None), trial(-3, 3, divergence=None), trial(-2, 2, divergence=None)]
    assert [t.ablated.value for t in ranked(trials)] == [-3, -2, -1]
