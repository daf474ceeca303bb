"""Directions, splits, effects, and tokens that are learnt from verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from deepsight_causal import (
    addition,
    at_random,
    beyond_random,
    cases,
    cosine,
    difference_of_means,
    directional_ablation,
    distinctive,
    divergence,
    effect,
    losses,
    neutral_prompts,
    next_token,
    refusal_scores,
    refusal_tokens,
    split,
    split_half_cosine,
)
from deepsight_causal.losses import LOSS

from deepsight_core import Evidence, Output, Prompt, Record, Sample, user
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Token, Want
from deepsight_core.protocol import Judgement
from deepsight_core.testing import GlassInside

RNG = np.random.default_rng(0)


class Reader:
    """Stands for an open model: the first letter of an answer is its first token."""

    def read(self, want: Want, prompts: Sequence[Prompt]) -> tuple[tuple[Token, ...], ...]:
        return tuple((Token(str(prompt.answer)[0], ord(str(prompt.answer)[0])),) for prompt in prompts)


def evidence(*answers: tuple[str, str]) -> Evidence:
    samples = tuple(Sample(id=f"s{n}", messages=(user("?"),)) for n in range(len(answers)))
    records = tuple(
        Record(
            dataset="d",
            sample=sample,
            output=Output(text=text),
            judgements=(Judgement(judge="j", label=label),),
        )
        for sample, (text, label) in zip(samples, answers, strict=True)
    )
    return Evidence(samples, records)


def learnt(given: Evidence) -> Any:
    reader: Any = Reader()
    return refusal_tokens(given, reader)


def test_refusal_tokens_are_those_that_open_refusals_and_nothing_else() -> None:
    answers = [("Sorry", "refused")] * 9 + [("The", "refused")] * 3 + [("The", "complied")] * 8
    found = learnt(evidence(*answers))
    assert (found.texts, found.ids, found.learnt) == (("S",), (ord("S"),), True)
    assert (found.refused, found.complied) == (12, 8)


def test_a_model_that_hardly_refuses_is_read_by_the_usual_openings() -> None:
    found = learnt(evidence(*[("Sorry", "refused")] * 2, *[("The", "complied")] * 30))
    assert not found.learnt and set(found.texts) == {"I", "S", "A"}


def test_without_scored_answers_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(DiagnosticError, match="evaluate a data set"):
        learnt(Evidence((Sample(id="s", messages=(user("?"),)),)))


def test_log_odds_follow_the_formula() -> None:
    refused, complied = [1] * 8 + [2] * 2, [1] * 1 + [2] * 9
    prior = np.array([9, 11]) / 20
    counts = np.array([[8, 2], [1, 9]])
    odds = np.log((counts + prior) / (10 + 1 - counts - prior))
    z = (odds[0] - odds[1]) / np.sqrt((1 / (counts + prior)).sum(axis=0))
    assert distinctive(refused, complied) == tuple(token for token, at in ((1, z[0]), (2, z[1])) if at > 1.96) == (1,)


def test_refusal_scores_are_log_odds_and_finite_at_both_ends() -> None:
    p = np.array([[0.2, 0.3], [0.0, 0.0], [0.5, 0.5]])
    with np.errstate(divide="ignore"):
        found = refusal_scores(np.log(p))
    assert found[0] == pytest.approx(0, abs=1e-7)
    assert np.isfinite(found).all() and found[1] == pytest.approx(-found[2])


def test_a_planted_direction_is_found_and_its_halves_agree() -> None:
    y, u = np.arange(200) % 2, RNG.normal(size=32)
    x = RNG.normal(size=(200, 3, 32)) + y[:, None, None] * u
    assert (cosine(difference_of_means(x, y), u) > 0.9).all()
    assert (split_half_cosine(x, y, np.arange(200)) > 0.7).all()
    assert (np.abs(split_half_cosine(x - y[:, None, None] * u, y, np.arange(200))) < 0.7).all()


def test_random_directions_are_as_long_as_what_they_control_for() -> None:
    drawn = at_random(np.full(16, 2.0), 5, seed=3)
    assert drawn.shape == (5, 16) and np.allclose(np.linalg.norm(drawn, axis=1), 8)
    assert np.array_equal(drawn, at_random(np.full(16, 2.0), 5, seed=3))


def test_parts_share_no_cluster_and_hold_both_classes() -> None:
    y, groups = np.arange(80) % 2, np.arange(80) // 2
    parts = split(y, groups)
    rows = [parts.fit, parts.choose, parts.report]
    assert sorted(np.concatenate(rows).tolist()) == list(range(80)) and len(parts.fit) == 40
    assert len(set(groups[parts.fit]) & set(groups[parts.report])) == 0
    assert all(set(y[part]) == {0, 1} for part in rows)


def test_an_effect_is_paired() -> None:
    before = RNG.normal(size=50) * 10
    found = effect(before, before + 1 + 0.1 * RNG.normal(size=50), np.arange(50))
    assert found.low < found.value < found.high and found.low > 0.9 and found.p < 0.01 and found.count == 50


def test_edits_name_the_sites_that_they_change() -> None:
    ablated = directional_ablation(np.ones(4))
    assert [(edit.site, edit.layers) for edit in ablated] == [("resid_in", (0,)), ("attn_out", None), ("mlp_out", None)]
    (added,) = addition(np.ones(4), layer=3, dose={"p": 2.0})
    assert (added.site, added.layers) == ("resid_in", (3,))


def test_p_of_one_more_random_direction_is_students() -> None:
    null = RNG.normal(size=10)
    spread = null.std(ddof=1) * np.sqrt(1.1)
    assert beyond_random(float(null.mean() + 2.262157 * spread), null) == pytest.approx(0.025, abs=1e-5)
    assert beyond_random(float(null.mean()), null) == pytest.approx(0.5)
    assert beyond_random(1.0, np.zeros(3)) == 0 and beyond_random(0.0, np.zeros(3)) == 1


def test_neutral_texts_are_forty_different_questions_with_answers() -> None:
    prompts = neutral_prompts()
    assert len({prompt.messages for prompt in prompts}) == len(prompts) == 40
    assert all(prompt.answer for prompt in prompts)


def test_losses_are_mean_negative_log_probabilities_of_the_answers_tokens() -> None:
    inside = GlassInside()
    (prompt, *_) = neutral_prompts()
    acts = inside.run([LOSS], [prompt])
    assert losses(inside, [prompt]) == pytest.approx([-acts.each(LOSS)[0].mean()])
    with pytest.raises(DiagnosticError, match="has no answer"):
        losses(inside, [Prompt(id="p", messages=(user("?"),))])


def test_divergence_is_that_of_kullback_and_leibler() -> None:
    p, q = np.array([[0.5, 0.5], [1 / 4, 3 / 4]]), np.array([[0.5, 0.5], [1 / 2, 1 / 2]])
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert divergence(np.log(p), np.log(q)) == pytest.approx([0, expected])


def test_the_first_tokens_distribution_sums_to_one() -> None:
    logs = next_token(GlassInside(), neutral_prompts()[:3])
    assert logs.shape == (3, 100) and np.exp(logs).sum(axis=1) == pytest.approx(1)


def test_cases_are_sorted_by_id_and_know_what_was_refused() -> None:
    samples = tuple(Sample(id=id, messages=(user(id),), labels={"harmful": id in "ac"}) for id in "cab")
    records = tuple(
        Record(
            dataset="d",
            sample=sample,
            output=Output(text="x"),
            judgements=(
                Judgement(judge="j", label="refused") if sample.id != "b" else Judgement(judge="j", status="failed"),
            ),
        )
        for sample in samples
    )
    found = cases(Evidence(samples, records))
    assert (found.ids, found.y.tolist(), found.refused) == (("a", "b", "c"), [1, 0, 1], (True, None, True))
    assert [prompt.id for prompt in found.asked([2, 0])] == ["c", "a"]
    assert len(found.drawn([0, 1, 2], 2)) == 2 and found.drawn([2, 0], None).tolist() == [2, 0]
    with pytest.raises(DiagnosticError, match="must be a verdict"):
        cases(Evidence(samples, records), "label:harmful")
