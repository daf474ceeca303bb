"""The dose-response of a planted direction, and of none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deepsight_steering import Steering

from deepsight_core.errors import DiagnosticError
from deepsight_core.figures import Trajectory
from deepsight_core.protocol import Diagnosis


def test_a_planted_direction_raises_scores_with_the_dose_and_random_ones_do_not(world, named):
    diagnosis = world().diagnose()
    assert diagnosis.summary.startswith("The direction raises the refusal score of")
    for side in ("harmful", "not harmful"):
        slope = named(diagnosis, f"slope at zero, {side}")
        assert slope.value > slope.null_high and slope.p < 0.05 and slope.evidence == "intervention"
    rank = named(diagnosis, "monotonicity, not harmful")
    assert rank.value > 0.9 and rank.low <= rank.value <= rank.high


def test_half_of_the_effect_comes_at_a_dose_within_the_grid(world, named):
    half = named(world().diagnose(), "dose of half effect, not harmful")
    assert 0 < half.value < 2 and half.unit == "differences of the class means"


def test_failures_are_turned_by_the_smallest_dose_that_does_it(world, named):
    made = world(refuses=lambda number: number % 2 == 0 and number % 8 != 0)
    diagnosis = made.diagnose()
    turned = named(diagnosis, "dose that turns half: harmful but not refused")
    assert 0 < turned.value < 2 and turned.count == len(turned.samples) > 0
    assert all(int(id[1:]) % 8 == 0 for id in turned.samples)
    doses = [diagnosis.table[id]["turning dose"] for id in turned.samples]
    assert all(0 < dose < 2 for dose in doses)
    price = diagnosis.table[turned.samples[0]]["right samples turned at it"]
    assert 0 <= price <= 1


def test_refused_harmless_samples_are_turned_by_a_negative_dose(world, named):
    diagnosis = world(refuses=lambda number: number % 2 == 0 or number % 8 == 1).diagnose()
    turned = named(diagnosis, "dose that turns half: not harmful but refused")
    assert turned.value < 0 and turned.samples


def test_the_dose_that_turns_half_is_confirmed_by_asking_again(world, named):
    diagnosis = world(refuses=lambda number: number % 4 == 2).diagnose()
    asked = named(diagnosis, "refusals of harmful at the dose for failures 'not refused'")
    assert asked.value > 0 and asked.count == 16 and asked.evidence == "intervention"
    assert named(diagnosis, "refusals of not harmful at the dose for failures 'not refused'").count == 16


def test_where_nothing_is_planted_no_slope_is_claimed_in_at_least_95_of_100_seeds(world):
    options = {"count": 24, "doses": (-1.0, 0.0, 1.0), "written": 1, "behaviour": False}
    claims = [
        world(refuses=lambda number: False, name=f"n{seed} ", **options).diagnose().summary for seed in range(100)
    ]
    assert sum(claim.startswith("The direction raises") for claim in claims) <= 5


def test_a_direction_can_be_that_of_a_verdict(world, named):
    diagnosis = world(along="verdict:refused", refuses=lambda number: number % 4 < 2).diagnose()
    assert named(diagnosis, "slope at zero, harmful").p < 0.05


def test_answers_are_read_by_the_unedited_model(world, named):
    diagnosis = world().diagnose()
    worn = named(diagnosis, "loss of own answers at dose +2")
    assert worn.count == 12 and worn.unit == "nats a token"
    assert named(diagnosis, "repetition in own answers at dose -2").value == 0


def test_collapse_is_shown_beside_that_of_a_random_direction(world, named):
    diagnosis = world(breaks=0.01).diagnose()
    assert named(diagnosis, "collapse at a positive dose").evidence == "intervention"
    assert named(diagnosis, "control: collapse at a positive dose").evidence == "control"


def test_curves_have_a_point_a_dose_and_a_band_of_random_directions(world):
    figures = world().diagnose().figures
    assert [figure.name for figure in figures[:2]] == ["dose-response, harmful", "dose-response, not harmful"]
    assert all(isinstance(figure, Trajectory) and len(figure.values) == 9 for figure in figures)
    assert all(low <= high for low, high in zip(figures[0].low, figures[0].high, strict=True))


def test_samples_that_the_direction_was_fitted_on_are_not_dosed(world):
    diagnosis = world().diagnose()
    assert len(diagnosis.table) == 32
    pairs = {int(id[1:]) // 2 for id in diagnosis.table}
    assert len(pairs) == 16


def test_the_order_of_the_samples_changes_nothing(world):
    one = world()
    samples, records = one.evidence.samples[::-1], one.evidence.records[::-1]
    turned = replace(one, evidence=replace(one.evidence, samples=samples, records=records))
    values = [
        [finding.value for finding in made.diagnose().findings if finding.value is not None] for made in (one, turned)
    ]
    assert values[0] == pytest.approx(values[1])


def test_without_a_run_to_ask_again_the_curve_remains(world):
    diagnosis = world(again=False).diagnose()
    assert any("Nobody was asked again" in caveat for caveat in diagnosis.caveats)


def test_doses_hold_zero_and_both_sides_of_it():
    for doses in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0, -1.0)):
        with pytest.raises(ValueError, match="ascend"):
            Steering(doses=doses)


def test_a_selector_that_holds_for_all_is_an_error_that_names_it(world):
    with pytest.raises(DiagnosticError, match=r"steering: .*verdict:refused"):
        world(along="verdict:refused", refuses=lambda number: False).diagnose()


def test_every_number_is_finite_and_survives_json(world):
    diagnosis = world().diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
