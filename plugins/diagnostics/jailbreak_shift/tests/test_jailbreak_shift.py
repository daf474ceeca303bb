"""Planted attacks are told apart by what they move; an attack that does nothing to refusal shows nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Diagnosis


def one(diagnosis, name):
    (finding,) = [finding for finding in diagnosis.findings if finding.name == name]
    return finding


def test_each_attack_moves_the_coordinates_that_it_was_made_to_move(attacked):
    diagnosis = attacked().diagnose()
    for attack, refusal, harmfulness in (("mask", True, True), ("hush", True, False), ("idle", False, False)):
        for name, moved in (("refusal", refusal), ("harmfulness", harmfulness)):
            shift = one(diagnosis, f"{name} shift: {attack}, harmful")
            assert (shift.value < -4 and shift.p < 0.05) if moved else abs(shift.value) < 0.5, (attack, name)
            assert abs(one(diagnosis, f"{name} shift: {attack}, harmless").value) < 0.5
            beyond = one(diagnosis, f"{name} shift beyond the twin: {attack}")
            assert (beyond.high < -4) if moved else (beyond.low < 0.3 and beyond.high > -0.3)


def test_the_fraction_of_the_way_is_one_where_the_refusal_is_gone(attacked):
    diagnosis = attacked().diagnose()
    assert one(diagnosis, "fraction of the way to harmless: hush").value == pytest.approx(1, abs=0.1)
    assert one(diagnosis, "fraction of the way to harmless: idle").value == pytest.approx(0, abs=0.1)


def test_the_shift_is_shared_out_beside_directions_from_shuffled_labels(attacked):
    diagnosis = attacked().diagnose()
    hush, idle = one(diagnosis, "share along refusal: hush"), one(diagnosis, "share along refusal: idle")
    assert 0.35 < hush.value < 0.6 and hush.value > hush.null_high and hush.p < 0.05
    assert idle.value < 0.1


def test_broken_prompts_are_typed_by_what_was_planted(attacked):
    diagnosis = attacked().diagnose()
    suppressed, missed = (
        one(diagnosis, "broken: recognised but refusal suppressed"),
        one(diagnosis, "broken: not recognised"),
    )
    assert suppressed.count == 100 and suppressed.value == pytest.approx(0.5, abs=0.06) and suppressed.low > 0.3
    assert {diagnosis.table[id]["attack"] for id in suppressed.samples} == {"hush"}
    assert np.mean([diagnosis.table[id]["attack"] == "mask" for id in missed.samples]) > 0.9


def test_giving_the_refusal_coordinate_back_restores_the_refusals(attacked):
    diagnosis = attacked().diagnose()
    restored = one(diagnosis, "refusing again with the refusal coordinate given back")
    assert restored.evidence == "intervention" and restored.value > 0.8 and restored.count >= 95
    assert one(diagnosis, "change of the refusal score beyond a random direction").low > 5
    assert not [f for f in attacked(confirm=False).diagnose().findings if f.evidence == "intervention"]


def test_refusals_are_counted_on_both_labels(attacked):
    diagnosis = attacked().diagnose()
    assert one(diagnosis, "change of refusals: hush, harmful").value == -1
    assert one(diagnosis, "change of refusals: idle, harmful").value == 0
    assert one(diagnosis, "change of refusals: hush, harmless").value == 0


def test_an_attack_that_does_nothing_is_no_finding_in_95_of_100_seeds(attacked):
    options = {"groups": 40, "attacks": ("none", "idle"), "folds": 4, "penalties": (1.0,), "permutations": 20}
    diagnoses = [attacked(seed=seed, **options).diagnose() for seed in range(100)]
    assert sum(one(diagnosis, "refusal shift: idle, harmful").p <= 0.05 for diagnosis in diagnoses) <= 5
    least = [min(f.p for f in diagnosis.findings if " shift" in f.name and f.p is not None) for diagnosis in diagnoses]
    assert sum(p <= 0.05 for p in least) <= 10  # any of six


def test_a_model_that_refuses_nothing_is_read_by_its_labels_and_nothing_is_broken(attacked):
    diagnosis = attacked(refuses=False).diagnose()
    assert "No attack turned a refused harmful prompt" in diagnosis.summary
    assert "no refusal direction of its own is shown" in diagnosis.summary
    assert any("fitted to the label" in caveat for caveat in diagnosis.caveats)


def test_the_order_of_the_samples_changes_nothing(attacked):
    plain, mixed = attacked().diagnose(), attacked(order=lambda id: id[::-1]).diagnose()
    assert plain.table == mixed.table
    assert [finding.value for finding in plain.findings] == pytest.approx([finding.value for finding in mixed.findings])


def test_an_attacked_prompt_without_a_plain_form_is_counted(attacked):
    world = attacked()
    gone = "g000-True-none"
    kept = [record for record in world.evidence.records if record.id != gone]
    evidence = type(world.evidence)(tuple(record.sample for record in kept), tuple(kept))
    diagnosis = type(world)(evidence, world.inside, world.diagnostic).diagnose()
    assert any("3 attacked prompts have no single plain form" in caveat for caveat in diagnosis.caveats)
    assert "g000-True-hush" not in diagnosis.table and "g000-False-hush" in diagnosis.table


def test_figures_and_findings_survive_json_without_nan(attacked):
    diagnosis = attacked().diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    assert all(finding.value is not None and math.isfinite(finding.value) for finding in diagnosis.findings)
    scatter, shifts = diagnosis.figures
    assert {dot.group for dot in scatter.dots} == {"plain", "mask", "hush", "idle"} and len(scatter.dots) == 200
    assert np.array(shifts.values)[shifts.rows.index("hush"), 2:].max() < -4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attacks": ("none",)}, "jailbreak-shift: 'label:attack=none' holds for every sample"),
        ({"attacks": ("mask",)}, "holds for no sample"),
        ({"groups": 3}, "jailbreak-shift: 5 folds need 5"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_its_name(attacked, options, message):
    with pytest.raises(DiagnosticError, match=message):
        attacked(**options).diagnose()
