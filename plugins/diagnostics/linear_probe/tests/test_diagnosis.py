"""The diagnosis finds what was planted, says so, and finds nothing where nothing was planted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Diagnosis


def named(diagnosis, name):
    return [finding for finding in diagnosis.findings if finding.name == name]


def one(diagnosis, name):
    (finding,) = named(diagnosis, name)
    return finding


def test_a_planted_shift_is_found_at_the_layers_where_it_is(planted):
    diagnosis = planted(shift=4.0, start=2, count=80).diagnose()
    significant = [f.site.layer for f in named(diagnosis, "auroc") if f.p < 0.05]
    assert significant == [2, 3]
    assert [f.site.layer for f in named(diagnosis, "difference-of-means auroc") if f.p < 0.05] == [2, 3]
    assert one(diagnosis, "first layer within one standard error").value == 2
    assert one(diagnosis, "held-out auroc").value > 0.95
    assert one(diagnosis, "held-out auroc").site.layer in (2, 3)
    assert one(diagnosis, "gain over words and length").low > 0.3
    assert one(diagnosis, "held-out auroc").null_high < one(diagnosis, "held-out auroc").low


def test_the_elbow_is_offered_as_the_decision_layer_with_an_interval(planted):
    found = one(planted(shift=4.0, start=2, count=80).diagnose(), "decision layer")
    assert found.value == 2 and 2 <= found.low <= found.value <= found.high <= 3 and found.unit == "layer"
    assert one(planted().diagnose(), "decision layer").value is None


def test_where_nothing_is_planted_nothing_stands_out_in_95_of_100_seeds(planted):
    diagnoses = [
        planted(seed=seed, count=40, layers=3, width=6, folds=4, penalties=(1.0, 100.0)).diagnose()
        for seed in range(100)
    ]
    headlines = [one(diagnosis, "held-out auroc") for diagnosis in diagnoses]
    assert sum(f.value > f.null_high for f in headlines) <= 5
    assert sum(min(f.p for f in named(d, "auroc")) <= 0.05 for d in diagnoses) <= 10
    assert np.mean([f.value for f in headlines]) == pytest.approx(0.5, abs=0.03)


def test_the_embedding_of_a_template_token_gives_exactly_one_half(planted):
    leak = one(planted(count=41, paired=False).diagnose(), "control: embedding")
    assert leak.value == 0.5 and leak.evidence == "control" and "exactly 0.5" in leak.summary


def test_the_order_of_the_samples_changes_nothing(planted):
    shuffled = np.random.default_rng(3).permutation(60)
    options = {"shift": 1.0, "refused": lambda number: number % 3 == 0}
    straight = planted(**options).diagnose()
    mixed = planted(**options, order=lambda number: shuffled[number]).diagnose()
    column = "probe p(harmful)"
    assert all(mixed.table[id][column] == pytest.approx(row[column]) for id, row in straight.table.items())
    for a, b in zip(straight.findings, mixed.findings, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-9) and a.low == pytest.approx(b.low, abs=1e-9)


def test_the_scale_of_the_activations_changes_nothing(planted):
    small, large = planted(shift=1.5).diagnose(), planted(shift=1.5, scale=1000.0).diagnose()
    for a, b in zip(small.findings, large.findings, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-6), a.name


def test_a_word_that_gives_the_class_away_leaves_no_gain(planted):
    diagnosis = planted(
        shift=6.0, count=80, words=lambda number: f"{'terrible' if number % 2 == 0 else 'lovely'} thing"
    ).diagnose()
    assert one(diagnosis, "control: bag of words").value == 1.0
    assert one(diagnosis, "gain over words and length").high <= 0
    assert "no more than the surface" in diagnosis.summary


def test_prompt_length_is_caught_as_a_control(planted):
    diagnosis = planted(words=lambda number: "long " * 30 if number % 2 == 0 else "short").diagnose()
    assert one(diagnosis, "control: prompt length").value == 1.0


def test_refused_samples_that_the_probe_reads_more_clearly_show_as_agreement(planted):
    class_shift = planted(shift=5.0, count=120, refused=lambda number: number % 4 == 0)
    diagnosis = class_shift.diagnose()
    recognised = one(diagnosis, "recognised but not refused")
    assert recognised.count == 30 and recognised.value > 0.9 and recognised.headline
    assert all(int(id[1:]) % 4 == 2 for id in recognised.samples)
    agreement = one(diagnosis, "probe score of refused over not refused")
    assert agreement.null_low <= agreement.value <= agreement.null_high


def test_unrecognised_failures_are_told_from_recognised_ones(planted):
    world = planted(shift=6.0, count=120, refused=lambda number: number % 4 == 0)
    for want, array in world.acts.arrays.items():
        if want.site == "resid_out":  # the failed harmful prompts look harmless inside
            array[2::4] = np.random.default_rng(9).standard_normal(array[2::4].shape)
    diagnosis = world.diagnose()
    assert one(diagnosis, "recognised but not refused").value < 0.35
    agreement = one(diagnosis, "probe score of refused over not refused")
    assert agreement.low > agreement.null_high and agreement.p < 0.05


def test_behaviour_that_cannot_be_compared_is_said(planted):
    nobody = planted(shift=4.0, refused=lambda number: False).diagnose()
    assert any("verdicts seen: complied" in caveat for caveat in nobody.caveats)
    assert not named(nobody, "probe score of refused over not refused")
    assert not named(planted(shift=4.0).diagnose(), "recognised but not refused")


def test_a_probe_that_reads_nothing_is_not_compared_with_behaviour(planted):
    diagnosis = planted(refused=lambda number: number % 4 == 0).diagnose()
    assert not named(diagnosis, "recognised but not refused")
    assert any("reads nothing beyond chance" in caveat for caveat in diagnosis.caveats)
    assert "within what shuffled labels give" in diagnosis.summary


def test_every_sample_gets_a_held_out_probability(planted):
    world = planted(shift=5.0)
    diagnosis = world.diagnose()
    assert set(diagnosis.table) == {sample.id for sample in world.evidence.samples}
    row = diagnosis.table["s000"]
    assert 0.5 < row["probe p(harmful)"] < 1 and row["probe site"].startswith("layer ")


def test_a_figure_shows_every_sample_where_the_probe_was_read_most_often(planted):
    diagnosis = planted(shift=5.0, start=2).diagnose()
    (figure,) = diagnosis.figures
    layer = one(diagnosis, "held-out auroc").site.layer
    assert figure.caption.startswith(f"Layer {layer}, last: where the probe was read most often. ")
    assert {dot.group for dot in figure.dots if int(dot.id[1:]) % 2 == 0} == {"harmful"}
    assert {dot.group for dot in figure.dots if int(dot.id[1:]) % 2} == {"not harmful"}
    assert len(figure.dots) == 60


def test_it_survives_json_without_nan(planted):
    diagnosis = planted(
        shift=1.0, refused=lambda number: number < 3, positions=("last", "end-of-instruction")
    ).diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    for finding in diagnosis.findings:
        numbers = (finding.value, finding.low, finding.high, finding.null_low, finding.null_high, finding.p)
        assert all(number is None or math.isfinite(number) for number in numbers), finding.name


def test_unbalanced_classes_are_served(planted):
    diagnosis = planted(shift=5.0, count=90, paired=False, harmful=lambda number: number < 9).diagnose()
    assert one(diagnosis, "held-out auroc").value > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"harmful": lambda number: True}, "linear-probe: contrast 'label:harmful' needs samples on both sides"),
        ({"count": 8}, "linear-probe: 5 folds need 5 independent clusters of each class"),
        ({"paired": False, "harmful": lambda number: number < 3}, "linear-probe: 5 folds need 5"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_its_name(planted, options, message):
    with pytest.raises(DiagnosticError, match=message):
        planted(**options).diagnose()


def test_a_nan_is_refused_in_its_name(planted):
    world = planted()
    list(world.acts.arrays.values())[1][3, 1, 0, 0] = np.nan
    with pytest.raises(DiagnosticError, match=r"linear-probe: .* sample 's003' at layer 1 hold NaN"):
        world.diagnose()
