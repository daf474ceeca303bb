"""The diagnosis finds what was planted, says so, and finds nothing where nothing was planted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from deepsight_core.errors import DiagnosticError


def named(diagnosis, name):
    return [finding for finding in diagnosis.findings if finding.name == name]


def one(diagnosis, name):
    (finding,) = named(diagnosis, name)
    return finding


def test_cohorts_whose_weights_lie_apart_share_fewer_than_random_halves(world):
    diagnosis = world(apart=1.5).diagnose()
    found = one(diagnosis, "overlap in all layers")
    assert found.headline and found.value < found.null_low and found.p < 0.05
    assert found.low <= found.value <= found.high
    assert "fewer than two random halves" in diagnosis.summary
    assert all(f.p < 0.05 for f in named(diagnosis, "overlap"))


def test_cohorts_of_one_kind_stand_out_in_at_most_ten_of_a_hundred_seeds(world):
    found = [
        one(
            world(seed=seed, count=12, sets=("privacy", "fairness"), units=0, shares=()).diagnose(),
            "overlap in all layers",
        )
        for seed in range(100)
    ]
    assert sum(finding.p <= 0.05 for finding in found) <= 10
    assert np.mean([finding.p for finding in found]) > 0.4


def test_identical_cohorts_overlap_completely(world):
    made = world(sets=("privacy", "fairness"))
    made.inside._example = lambda matrix, prompt: np.exp(made.inside._normal(matrix, prompt.id[-3:]))
    assert one(made.diagnose(), "overlap in all layers").value == 1.0


def test_the_scale_of_the_gradients_changes_nothing(world):
    small, large = world(apart=1.0).diagnose(), world(apart=1.0, scale=1024.0).diagnose()
    assert small == large


def test_the_order_of_the_samples_changes_nothing(world):
    shuffled = np.random.default_rng(1).permutation(72)
    assert world(apart=1.0).diagnose() == world(apart=1.0, order=shuffled).diagnose()


def test_the_sweep_shows_coefficient_lift_and_the_published_ratio(world):
    diagnosis = world(apart=1.0).diagnose()
    seen, lift, ratio = (one(diagnosis, f"{name} at q = 0.05") for name in ("overlap", "lift", "coupling ratio"))
    per_matrix = int(0.05 * 1000)
    coupled = round(seen.value * 6 * per_matrix)
    assert lift.value == pytest.approx(coupled / (6 * per_matrix**2 / 1000))
    assert ratio.value == pytest.approx(coupled / 6000)
    assert one(diagnosis, "overlap at q = 0.02").value == one(diagnosis, "overlap in all layers").value


def test_a_planted_neuron_is_named_first(world):
    diagnosis = world(neuron=17, apart=2.0, share=0.025).diagnose()
    first = named(diagnosis, "coupled weights of a neuron")[0]
    assert (first.site.layer, first.site.unit, first.site.kind) == (1, 17, "neuron")
    assert first.value == 2 * 25  # all of the top 2.5 % of both matrices of its block


def test_what_matters_in_general_is_taken_out_of_the_units(world):
    everywhere = {"neuron": 17, "apart": 2.0, "share": 0.025, "coupled": ("privacy", "fairness", "general")}
    diagnosis = world(**everywhere).diagnose()
    assert all(f.site.unit != 17 for f in named(diagnosis, "coupled weights of a neuron"))
    assert one(diagnosis, "coupled beyond general").value < 1
    kept = world(**everywhere, subtract_general=False).diagnose()
    assert named(kept, "coupled weights of a neuron")[0].site.unit == 17


def test_a_missing_general_cohort_is_said(world):
    diagnosis = world(sets=("privacy", "fairness")).diagnose()
    assert not named(diagnosis, "coupled beyond general")
    assert any("Too few general samples" in caveat for caveat in diagnosis.caveats)


def test_a_share_that_selects_nothing_gives_none_and_a_caveat_in_either_mode(world):
    for options in ({"mode": "reference", "share": None}, {"share": 1e-5, "shares": (1e-6,)}):
        diagnosis = world(**options).diagnose()
        headline = next(finding for finding in diagnosis.findings if finding.headline)
        assert headline.value is None
        assert any("6 of 6 matrices are too small" in caveat for caveat in diagnosis.caveats)
        json.dumps(diagnosis.model_dump(mode="json"), allow_nan=False)


def test_the_map_shows_every_kind_of_matrix_in_every_layer(world):
    (figure,) = world(apart=1.0).diagnose().figures
    assert figure.rows == ("mlp.up_proj", "mlp.down_proj") and figure.columns == ("0", "1", "2")
    assert all(0 <= value <= 1 for row in figure.values for value in row)


def test_one_example_of_each_cluster_is_drawn_and_equally_many_of_both_cohorts(world):
    made = world(group=lambda number: f"prompt {number // 3}", examples=7)
    diagnosis = made.diagnose()
    assert {name: len(ids) for name, ids in made.inside.drawn.items()} == {"first": 7, "second": 7, "general": 7}
    assert all(len({int(id[-3:]) // 3 for id in ids}) == 7 for ids in made.inside.drawn.values())
    assert made.inside.calls == [{"depth": 0.2, "blocks": 6, "parts": ("mlp",), "raw": False}]
    assert not any("independent examples" in caveat for caveat in diagnosis.caveats)


def test_too_few_samples_or_a_sample_in_both_cohorts_is_refused(world):
    with pytest.raises(DiagnosticError, match=r"spin: the first cohort \('label:set=privacy'\) has 4 .* needs 6"):
        world(count=4).diagnose()
    with pytest.raises(DiagnosticError, match=r"'privacy-000' is in the first cohort .* and in the second one"):
        world(second="label:set=privacy").diagnose()


def test_samples_without_an_answer_are_left_out_and_counted(world):
    made = world(mode="reference", share=0.02, answer=lambda number: "" if number == 3 else "yes")
    diagnosis = made.diagnose()
    assert "2 samples have no answer and were left out." in diagnosis.caveats
    assert "privacy-003" not in made.inside.drawn["first"]


def test_masking_compares_verdicts_with_the_run_and_with_random_weights(world, asked):
    before = ["refused"] * 6 + ["complied"] * 6
    again = asked(
        before,
        {"without the coupled weights": ["complied"] * 12, "without random weights": ["refused", *before[1:]]},
    )
    made = world(apart=1.0, mask=True, again=again)
    diagnosis = made.diagnose()
    change, control = one(diagnosis, "change of refused"), one(diagnosis, "control: change of refused")
    assert change.value == -0.5 and change.evidence == "intervention" and change.p == pytest.approx(2 / 2**6)
    assert change.samples == tuple(f"e{number}" for number in range(6))
    assert control.value == 0 and control.evidence == "control" and control.p == 1.0
    assert one(diagnosis, "answers that changed").value == 0  # the verdicts did, the texts of this test did not
    coupled, random = made.inside.masks
    assert {place: len(found) for place, found in coupled.items()} == {p: len(f) for p, f in random.items()}
    assert all(not set(found) & set(coupled[place]) for place, found in random.items())


def test_masking_without_an_evaluation_is_said(world):
    assert any("Nothing was masked" in caveat for caveat in world(mask=True).diagnose().caveats)


def test_the_reference_has_no_masking(world):
    with pytest.raises(ValidationError, match="mask needs mode"):
        world(mode="reference", mask=True)
