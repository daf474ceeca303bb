"""The diagnosis of a model whose refusals are planted along one direction, and of one that never refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.figures import Scatter
from deepsight_core.protocol import Diagnosis


def test_a_planted_refusal_direction_is_found_where_it_is_and_carries_behaviour(world, named):
    diagnosis = world().diagnose()
    assert diagnosis.summary.startswith("One direction carries refusal")
    chosen = named(diagnosis, "chosen direction")
    assert chosen.site.layer in (2, 3) and "Vector" in chosen.summary
    gone, come = named(diagnosis, "refusals under ablation"), named(diagnosis, "refusals under addition")
    assert gone.value < -0.9 and come.value > 0.9 and max(gone.p, come.p) < 0.05
    assert gone.evidence == come.evidence == "intervention"


def test_random_directions_of_the_same_length_do_not_do_it(world, named):
    diagnosis = world().diagnose()
    assert abs(named(diagnosis, "control: refusals under ablation").value) < 0.5
    score = named(diagnosis, "refusal score under ablation")
    assert score.value < score.null_low and score.p < 0.05 and score.low < score.value < score.high


def test_layers_before_the_direction_is_written_show_nothing(world):
    diagnosis = world().diagnose()
    profile = {
        (f.site.layer, f.site.position): f.value
        for f in diagnosis.findings
        if f.name == "screening: refusal score under addition"
    }
    assert min(profile[2, "last"], profile[3, "last"]) > 5 > max(abs(profile[0, "last"]), abs(profile[1, "last"]))


def test_both_positions_agree_where_one_direction_is_planted_at_both(world, named):
    diagnosis = world().diagnose()
    names = [finding.name for finding in diagnosis.findings]
    (beside,) = [name for name in names if name.startswith("cosine with")]
    cosine = named(diagnosis, beside)
    assert cosine.value > 0.9 > 0.5 > cosine.null_high
    assert named(diagnosis, "split-half cosine").value > 0.9


def test_a_model_that_never_refuses_has_no_causal_refusal_direction(world):
    diagnosis = world(refuses=lambda number: False).diagnose()
    assert diagnosis.summary.startswith("No causal refusal direction")
    assert any("too rarely to learn" in caveat for caveat in diagnosis.caveats)
    assert any("fitted on all" in caveat for caveat in diagnosis.caveats)


def test_refusals_that_have_nothing_to_do_with_the_contrast_are_not_claimed_for_it(world):
    claimed = [
        world(refuses=lambda number: number % 4 < 2, name=f"seed {seed} ", count=48).diagnose().summary
        for seed in range(5)
    ]
    assert not any(summary.startswith("One direction carries") for summary in claimed), claimed


def test_no_claim_about_chance_in_at_least_95_of_100_seeds(world):
    options = {"stride": 2, "positions": ("last",), "finalists": 1, "scored": 4, "screen": 4, "count": 32}
    claims = [
        world(refuses=lambda number: False, name=f"n{seed} ", **options).diagnose().summary for seed in range(100)
    ]
    assert sum(not claim.startswith("No causal refusal direction") for claim in claims) <= 5


def test_samples_are_fitted_chosen_and_reported_on_in_turn(world):
    diagnosis = world().diagnose()
    parts = {id: row["part"] for id, row in diagnosis.table.items()}
    assert sorted(set(parts.values())) == ["choose", "fit", "report"]
    pairs = {}
    for id, part in parts.items():
        pairs.setdefault(int(id[1:]) // 2, set()).add(part)
    assert all(len(found) == 1 for found in pairs.values())
    assert all(("refusal score" in row) == (row["part"] == "report") for row in diagnosis.table.values())


def test_projections_are_in_spreads_and_free_of_scale(world):
    table = world().diagnose().table
    harmful = [row["projection (within-class spreads)"] for id, row in table.items() if int(id[1:]) % 2 == 0]
    assert all(place > 1 for place in harmful)


def test_costs_are_shown_beside_those_of_a_random_direction(world, named):
    diagnosis = world().diagnose()
    for edit in ("ablation", "addition"):
        found = named(diagnosis, f"loss on neutral text under {edit}")
        assert found.count == 40 and found.unit == "nats a token"
        assert named(diagnosis, f"control: loss on neutral text under {edit}").evidence == "control"
        assert named(diagnosis, f"loss on own answers under {edit}").count > 0


def test_the_figure_shows_held_out_samples_by_projection_and_score(world):
    (figure,) = world().diagnose().figures
    assert isinstance(figure, Scatter) and {dot.group for dot in figure.dots} == {"harmful", "not harmful"}


def test_the_order_of_the_samples_changes_nothing(world):
    one = world()
    samples, records = one.evidence.samples[::-1], one.evidence.records[::-1]
    turned = replace(one, evidence=replace(one.evidence, samples=samples, records=records))
    assert _values(one.diagnose()) == pytest.approx(_values(turned.diagnose()))


def test_without_a_run_to_ask_again_scores_remain_and_the_caveat_says_so(world, named):
    diagnosis = world(again=False).diagnose()
    assert any("Nobody was asked again" in caveat for caveat in diagnosis.caveats)
    assert diagnosis.summary.startswith("One direction carries refusal")
    assert not any(finding.name.startswith("refusals") for finding in diagnosis.findings)


def test_answers_that_cannot_be_judged_are_no_evidence(world):
    diagnosis = world(scored_again=False).diagnose()
    assert any("could be judged" in caveat for caveat in diagnosis.caveats)


def test_all_tokens_of_the_template_can_be_candidates(world):
    diagnosis = world(positions=("post-instruction",), stride=4, behaviour=False).diagnose()
    places = {f.site.position for f in diagnosis.findings if f.name.startswith("screening")}
    assert places == {"post-instruction 0", "post-instruction 1"}


def test_too_few_samples_are_an_error_that_says_what_is_needed(world):
    with pytest.raises(DiagnosticError, match=r"refusal-direction: 4 folds need 4 independent clusters"):
        world(count=6).diagnose()


def test_a_refusal_is_named_by_a_verdict(world):
    with pytest.raises(DiagnosticError, match="must be a verdict"):
        world(refused="label:harmful").diagnose()


def test_every_number_is_finite_and_survives_json(world):
    diagnosis = world().diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


def _values(diagnosis: Diagnosis) -> list[float]:
    return [finding.value for finding in diagnosis.findings if finding.value is not None]
