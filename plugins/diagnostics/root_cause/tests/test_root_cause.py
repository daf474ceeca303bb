"""Planted causes are found, named and turned as they should be; where nothing is planted, nothing is decided."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Diagnosis


def one(diagnosis, name):
    (finding,) = [finding for finding in diagnosis.findings if finding.name == name]
    return finding


def rows_of(world, diagnosis, kind):
    return [diagnosis.table[sample.id] for sample in world.evidence.samples if sample.labels["kind"] == kind]


def test_every_failure_gets_the_cause_that_was_planted(planted):
    world = planted()
    diagnosis = world.diagnose()
    for kind, cause in (
        ("recognised", "recognised but not refused"),
        ("missed", "not recognised"),
        ("over-refused", "refused though not recognised"),
        ("refused", None),
        ("answered", None),
    ):
        found = [row["cause"] for row in rows_of(world, diagnosis, kind)]
        assert np.mean([one == cause for one in found]) >= 0.9, (kind, found)


def test_the_shares_of_the_causes_come_with_intervals_and_ids(planted):
    diagnosis = planted().diagnose()
    share = one(diagnosis, "harmful: recognised but not refused")
    assert share.count == 20 and 0.4 <= share.value <= 0.6 and share.low < share.value < share.high
    assert len(share.samples) == round(share.value * 20) and share.headline
    assert "Of 20 harmful prompts that were answered: recognised but not refused" in diagnosis.summary


def test_failures_part_from_the_right_ones_where_the_decision_was_planted(planted):
    world = planted()
    diagnosis = world.diagnose()
    found = [row["parts at layer"] for row in rows_of(world, diagnosis, "recognised")]
    assert found.count(2) >= 0.8 * len(found)
    assert one(diagnosis, "decision layer").value == 2
    parted = one(diagnosis, "harmful failures that part from the right ones")
    assert parted.low > 0.7 > 0.1 > parted.null_high


def test_the_nearest_prompts_are_of_the_same_label_and_the_other_outcome(planted):
    world = planted()
    diagnosis = world.diagnose()
    for row in rows_of(world, diagnosis, "over-refused"):
        ids = row["nearest of the other outcome"].split("; ")
        assert len(ids) == 3 and {diagnosis.table[id]["outcome"] for id in ids} == {"harmless, answered"}


def test_the_push_turns_what_was_recognised_and_not_what_was_missed(planted):
    diagnosis = planted().diagnose()
    gap = one(diagnosis, "turned more often where recognised")
    assert gap.evidence == "intervention" and gap.value > 0.7 and gap.low > 0.4 and gap.p < 0.05
    assert one(diagnosis, "turned by the refusal direction: not recognised").value < 0.2
    assert "turns recognised failures more often" in diagnosis.summary


def test_without_confirmation_nothing_is_changed(planted):
    diagnosis = planted(confirm=False).diagnose()
    assert not [finding for finding in diagnosis.findings if finding.evidence == "intervention"]


def test_the_push_is_made_where_it_says_even_when_layers_are_chosen(planted):
    diagnosis = planted(layers=(4, 3, 2)).diagnose()
    assert one(diagnosis, "turned more often where recognised").site.layer in (2, 3)
    assert one(diagnosis, "turned more often where recognised").value > 0.7


def test_where_nothing_can_be_read_every_failure_is_undecided(planted):
    diagnosis = planted(strength=0.0).diagnose()
    assert {row["cause"] for row in diagnosis.table.values()} == {None, "undecided"}
    assert "within what shuffled labels give" in diagnosis.summary
    assert any("reads nothing beyond chance" in caveat for caveat in diagnosis.caveats)


def test_in_95_of_100_seeds_nothing_is_read_where_nothing_is_planted(planted):
    worlds = [
        planted(seed=seed, count=80, strength=0.0, folds=4, penalties=(1.0,), permutations=100, confirm=False)
        for seed in range(100, 200)
    ]
    diagnoses = [world.diagnose() for world in worlds]
    found = [one(diagnosis, "recognition auroc") for diagnosis in diagnoses]
    assert sum(finding.value > finding.null_high for finding in found) <= 5
    assert np.mean([finding.value for finding in found]) == pytest.approx(0.5, abs=0.03)


def test_probabilities_are_calibrated_and_held_out(planted):
    diagnosis = planted(strength=2.0).diagnose()
    error, brier = one(diagnosis, "calibration error"), one(diagnosis, "Brier score")
    assert error.value < 0.15 and brier.low < brier.value < brier.high < 0.25


def test_a_model_that_refuses_nothing_is_read_by_its_labels_and_shows_no_causal_direction(planted):
    world = planted(kind=lambda number: "answered" if number % 2 else "recognised")
    for _, last in world.inside.states.values():
        last[:, 1] -= 100  # no push is strong enough
    diagnosis = world.diagnose()
    assert "no causal refusal direction" in diagnosis.summary and "No harmless prompt was refused" in diagnosis.summary
    assert any("fitted to the label" in caveat for caveat in diagnosis.caveats)
    assert any("refused 0 times" in caveat for caveat in diagnosis.caveats)
    assert {row["parts at layer"] for row in diagnosis.table.values()} == {None}


@pytest.mark.parametrize("train", ["old", "label:old"])
def test_a_training_set_is_learnt_from_and_not_reported(planted, train):
    world = planted(dataset=lambda number: "old" if number < 140 else "new")
    samples = [
        s.model_copy(update={"labels": {**s.labels, "old": int(s.id[1:]) < 140}}) for s in world.evidence.samples
    ]
    world = type(world)(type(world.evidence)(tuple(samples), world.evidence.records), world.inside, world.probe)
    world = type(world)(world.evidence, world.inside, world.probe.model_copy(update={"train": train}))
    diagnosis = world.diagnose()
    assert len(diagnosis.table) == 60 and min(diagnosis.table) == "s140"
    assert one(diagnosis, "recognition auroc").count == 60 and one(diagnosis, "recognition auroc").value > 0.85


def test_order_and_scale_change_nothing(planted):
    shuffled = np.random.default_rng(3).permutation(200)
    plain = planted(confirm=False).diagnose()
    mixed = planted(confirm=False, order=lambda number: shuffled[number]).diagnose()
    scaled = planted(confirm=False, scale=1000.0).diagnose()
    for id, row in plain.table.items():
        for other in (mixed, scaled):
            assert other.table[id]["cause"] == row["cause"]
            assert other.table[id]["p(harmful)"] == pytest.approx(row["p(harmful)"], abs=1e-5)
            assert other.table[id]["refusal"] == pytest.approx(row["refusal"], abs=1e-4)


def test_it_survives_json_without_nan(planted):
    diagnosis = planted(count=100).diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    for finding in diagnosis.findings:
        numbers = (finding.value, finding.low, finding.high, finding.null_low, finding.null_high, finding.p)
        assert all(number is None or math.isfinite(number) for number in numbers), finding.name


def test_the_figures_show_every_sample_and_every_outcome(planted):
    scatter, shares = planted().diagnose().figures
    assert len(scatter.dots) == 200 and len({dot.group for dot in scatter.dots}) == 4
    assert all(sum(row) == pytest.approx(1) for row in shares.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "elsewhere"}, "root-cause: train = 'elsewhere' names no sample.*Data sets here: d"),
        ({"train": "d"}, "names every sample"),
        ({"refused": "verdict:no", "answered": "verdict:yes"}, r"seen: complied, refused"),
        ({"count": 8}, "root-cause: 5 folds need 5 independent clusters"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_in_its_name(planted, options, message):
    with pytest.raises(DiagnosticError, match=message):
        planted(**options).diagnose()
