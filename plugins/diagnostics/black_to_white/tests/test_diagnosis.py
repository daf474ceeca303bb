"""The diagnosis finds a gain where states hold what the text does not, and none elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Diagnosis

NAME = "harmful and not refused"


def one(diagnosis, name):
    (finding,) = [finding for finding in diagnosis.findings if finding.name == name]
    return finding


def shown(finding):
    return finding.p <= 0.05 and finding.low > 0


def test_an_outcome_that_depends_on_a_state_is_predicted_better_by_looking_inside(planted):
    diagnosis = planted(state=4.0, start=1, count=100).diagnose()
    gain = one(diagnosis, f"{NAME}: gain over text")
    assert gain.value > 0.3 and shown(gain) and gain.null_high < gain.low and gain.site.layer in (1, 2)
    assert one(diagnosis, f"{NAME}: gain in Brier skill over text").low > 0
    assert one(diagnosis, f"{NAME}: first layer that adds to the text").value == 1
    assert "looking inside adds +0." in diagnosis.summary


def test_an_outcome_that_a_word_gives_away_leaves_nothing_to_gain(planted):
    diagnosis = planted(word=True, state=0.0, count=100).diagnose()
    assert one(diagnosis, f"{NAME}: auroc of text").value > 0.95
    gain = one(diagnosis, f"{NAME}: gain over text")
    assert not shown(gain) and gain.value < 0.05
    assert "nothing is shown to be gained" in diagnosis.summary
    assert one(diagnosis, f"{NAME}: first layer that adds to the text").value is None


def test_a_state_that_only_repeats_a_word_adds_nothing(planted):
    gain = one(planted(word=True, state=4.0, count=100).diagnose(), f"{NAME}: gain over text")
    assert not shown(gain)


def test_where_nothing_is_planted_nothing_is_gained_in_95_of_100_seeds(planted):
    options = {"count": 60, "layers": 2, "width": 5, "permutations": 40, "folds": 4, "penalties": (10.0,)}
    gains = [one(planted(seed=seed, **options).diagnose(), f"{NAME}: gain over text") for seed in range(100)]
    assert sum(map(shown, gains)) <= 5
    assert sum(gain.p <= 0.05 for gain in gains) <= 10
    assert np.mean([gain.value for gain in gains]) <= 0.01


def test_states_that_only_repeat_what_the_model_is_about_to_say_add_to_the_text_and_not_to_that(planted):
    diagnosis = planted(token=True, state=3.0, count=100).diagnose()
    assert one(diagnosis, f"{NAME}: auroc of text and first token").value > 0.9
    assert shown(one(diagnosis, f"{NAME}: gain over text"))
    assert one(diagnosis, f"{NAME}: gain over text and first token").value < 0.05


def test_a_data_set_that_was_not_learnt_from_is_predicted_too(planted):
    diagnosis = planted(state=4.0, count=120, datasets=3).diagnose()
    assert shown(one(diagnosis, f"{NAME}: gain over text on an unseen data set"))
    assert one(diagnosis, f"{NAME}: rate in set 2").count == 40
    assert "On a data set that was not learnt from, looking inside adds" in diagnosis.summary


def test_a_gain_that_holds_in_one_data_set_only_does_not_reach_the_others(planted):
    world = planted(state=4.0, count=120, datasets=2)
    for array in world.acts.arrays.values():
        array[1::2, ..., 0] *= -1  # the other data set has it the other way round
    diagnosis = world.diagnose()
    assert not shown(one(diagnosis, f"{NAME}: gain over text on an unseen data set"))


def test_a_data_set_whose_rate_differs_is_not_mistaken_for_a_prediction(planted):
    rng = np.random.default_rng(5)
    luck = rng.random(120)
    world = planted(count=120, datasets=2, refused=lambda number: luck[number] < (0.85 if number % 2 else 0.15))
    for array in world.acts.arrays.values():
        array[1::2, ..., 0] += 10  # states tell the data sets apart, and nothing else
    assert not shown(one(world.diagnose(), f"{NAME}: gain over text"))


def test_the_two_kinds_of_failure_are_asked_apart(planted):
    diagnosis = planted(state=4.0, count=120, harmful=lambda number: number % 3 == 0).diagnose()
    assert one(diagnosis, f"{NAME}: rate").count == 40
    other = one(diagnosis, "harmless and refused: gain over text")
    assert other.count == 80 and shown(other)


def test_a_verdict_can_be_the_outcome(planted):
    diagnosis = planted(state=4.0, outcome="verdict:refused", harmful=lambda number: number % 2 == 0).diagnose()
    gain = one(diagnosis, "refused: gain over text")
    assert gain.count == 80 and shown(gain) and diagnosis.mode == "verdict:refused"


def test_a_named_combination_can_be_the_outcome(planted):
    diagnosis = planted(outcome="over-refused", harmful=lambda number: number % 2 == 0, count=100).diagnose()
    assert one(diagnosis, "over-refused: rate").count == 100
    assert 0.15 < one(diagnosis, "over-refused: rate").value < 0.35


def test_the_first_words_of_the_answer_count_as_text_when_asked_for(planted):
    diagnosis = planted(state=4.0, answer_words=3).diagnose()
    assert one(diagnosis, f"{NAME}: auroc of text").value > 0.95
    assert not shown(one(diagnosis, f"{NAME}: gain over text"))


def test_a_model_that_never_fails_so_is_reported_as_that(planted):
    diagnosis = planted(refused=lambda number: False).diagnose()
    assert one(diagnosis, f"{NAME}: rate").value == 1.0
    assert "80 of 80 samples are harmful and not refused: too few of one kind" in diagnosis.summary
    assert any("80 of 80 samples leave nothing to be told apart" in caveat for caveat in diagnosis.caveats)


def test_a_failure_that_is_too_rare_for_the_folds_is_reported_as_that(planted):
    diagnosis = planted(refused=lambda number: number > 2).diagnose()
    assert one(diagnosis, f"{NAME}: rate").value == 3 / 80
    assert any("not predicted, because 5 folds need 5 independent clusters" in caveat for caveat in diagnosis.caveats)


def test_the_order_of_the_samples_changes_nothing(planted):
    shuffled = np.random.default_rng(3).permutation(80)
    straight = planted(state=1.0, token=True, datasets=2).diagnose()
    mixed = planted(state=1.0, token=True, datasets=2, order=lambda number: shuffled[number]).diagnose()
    assert [f.name for f in straight.findings] == [f.name for f in mixed.findings]
    for a, b in zip(straight.findings, mixed.findings, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-9) and a.p == b.p, a.name


def test_the_scale_of_the_activations_changes_nothing(planted):
    world, other = planted(state=1.0), planted(state=1.0)
    for array in other.acts.arrays.values():
        array *= 1000
    for a, b in zip(world.diagnose().findings, other.diagnose().findings, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-6), a.name


def test_it_survives_json_without_nan_and_gives_every_sample_a_row(planted):
    world = planted(state=1.0, token=True, datasets=2)
    diagnosis = world.diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    assert set(diagnosis.table) == {sample.id for sample in world.evidence.samples}
    for finding in diagnosis.findings:
        numbers = (finding.value, finding.low, finding.high, finding.null_low, finding.null_high, finding.p)
        assert all(number is None or math.isfinite(number) for number in numbers), finding.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": ()}, "there are no answers to predict"),
        ({"judge": "nobody"}, "no sample has both the label 'label:harmful' and a scored verdict"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_its_name(planted, change, message):
    world = planted()
    broken = replace(world, evidence=replace(world.evidence, **change))
    with pytest.raises(DiagnosticError, match=f"black-to-white: {message}"):
        broken.diagnose()
