"""The diagnosis finds what was planted, says so, and finds nothing where nothing was planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from deepsight_x_boundary import XBoundary

from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, Geometry, Last, MeanTokens, Span
from deepsight_core.protocol import Diagnosis, Site


def named(diagnosis, name):
    return [finding for finding in diagnosis.findings if finding.name == name]


def main(diagnosis, name):
    (finding,) = [finding for finding in named(diagnosis, name) if finding.headline]
    return finding


def at_last(diagnosis, name):
    return [finding for finding in named(diagnosis, name) if finding.site.position == "last"]


def test_a_planted_gap_is_found_at_the_layers_where_it_is_and_measured_rightly(planted):
    width, shift = 8, 3.0
    diagnosis = planted(shift=shift, start=2, harmful=60, safe=60, width=width).diagnose()
    profile = at_last(diagnosis, "separation")
    assert [f.site.layer for f in profile if f.p < 0.05] == [2, 3, 4, 5]
    headline = main(diagnosis, "separation")
    assert headline.site == Site(kind="resid_out", layer=3, position="last")
    assert headline.low < shift / math.sqrt(width) < headline.high
    assert headline.low > headline.null_high
    assert "within-class spreads apart (shuffled" in diagnosis.summary


def test_boundary_texts_are_placed_where_they_were_planted(planted):
    diagnosis = planted(shift=6.0, boundary=30, place=0.25).diagnose()
    position = main(diagnosis, "boundary position")
    assert position.value == pytest.approx(0.25, abs=0.1)
    assert position.low < 0.25 < position.high


def test_the_table_places_every_sample_by_the_others(planted):
    diagnosis = planted(shift=8.0, boundary=10, place=0.5).diagnose()
    where = {"harmful": [], "safe": [], "boundary": []}
    for row in diagnosis.table.values():
        where[row["class"]].append(row["place from safe (0) to harmful (1)"])
    assert np.mean(where["harmful"]) == pytest.approx(1, abs=0.1)
    assert np.mean(where["safe"]) == pytest.approx(0, abs=0.1)
    assert np.mean(where["boundary"]) == pytest.approx(0.5, abs=0.1)


def test_a_figure_at_each_position_shows_every_sample_at_the_headlines_layer(planted):
    diagnosis = planted(shift=8.0, boundary=10, place=0.5).diagnose()
    assert [figure.name for figure in diagnosis.figures] == [
        "plane, layer 3, last",
        "plane, layer 3, mean of user tokens",
    ]
    for figure in diagnosis.figures:
        assert {dot.id: dot.group for dot in figure.dots} == {id: row["class"] for id, row in diagnosis.table.items()}
        across = {kind: np.mean([dot.x for dot in figure.dots if dot.group == kind]) for kind in ("safe", "harmful")}
        apart = main(diagnosis, "separation").value
        assert across["harmful"] - across["safe"] == pytest.approx(apart, rel=0.05)


def test_where_nothing_is_planted_nothing_stands_out_in_95_of_100_seeds(planted):
    diagnoses = [planted(seed=seed, layers=3, width=5).diagnose() for seed in range(100)]
    headlines = [main(diagnosis, "separation") for diagnosis in diagnoses]
    assert sum(f.value > f.null_high for f in headlines) <= 5
    assert sum(min(f.p for f in named(d, "separation")) <= 0.05 for d in diagnoses) <= 10


def test_without_a_gap_no_boundary_position_is_claimed(planted):
    diagnosis = planted(boundary=12).diagnose()
    position = main(diagnosis, "boundary position")
    assert position.value is None and "bootstrap draws show no gap" in position.summary
    assert "cannot be told" in diagnosis.summary and "no more than shuffled labels" in diagnosis.summary


def test_a_separation_that_is_only_length_is_exposed(planted):
    world = planted(length=lambda number: 40 + number % 5 if number < 24 else 10 + number % 5)
    tokens = world.acts.lengths["prompt"]
    for array in world.acts.arrays.values():
        array[:, :, 0, 0] += tokens[:, None]
    diagnosis = world.diagnose()
    beyond = next(f for f in at_last(diagnosis, "separation beyond length") if f.site.layer == 3)
    (length,) = named(diagnosis, "control: length")
    assert main(diagnosis, "separation").value > 2
    assert beyond.low < 0.2
    assert length.value > 5 and length.evidence == "control" and length.p < 0.05


def test_lengths_that_tell_the_classes_apart_completely_are_said_to_be_infinite(planted):
    diagnosis = planted(shift=4.0, length=lambda number: 20 if number < 24 else 10).diagnose()
    (length,) = named(diagnosis, "control: length")
    assert length.value is None and length.summary.startswith("Infinite")


@pytest.mark.parametrize("unknown", [True, False])
def test_without_usable_token_counts_length_is_said_to_be_uncontrolled(planted, unknown):
    world = planted(length=lambda number: 5)
    if unknown:
        world.acts.lengths.clear()
    diagnosis = world.diagnose()
    assert any("Length was not controlled for" in caveat for caveat in diagnosis.caveats)
    assert not named(diagnosis, "separation beyond length") and not named(diagnosis, "control: length")


def test_pairs_are_compared_across_and_permuted_within(planted):
    diagnosis = planted(shift=5.0, paired=True).diagnose()
    assert main(diagnosis, "separation").p == pytest.approx(1 / 100)


def test_the_order_of_the_samples_changes_nothing(planted):
    shuffled = np.random.default_rng(5).permutation(60)
    straight = planted(shift=2.0, boundary=12).diagnose()
    mixed = planted(shift=2.0, boundary=12, order=lambda number: shuffled[number]).diagnose()
    assert set(mixed.table) == set(straight.table)
    for a, b in zip(straight.findings, mixed.findings, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-5, abs=1e-9), a.name
        assert (a.low is None) == (b.low is None)
        assert a.low is None or a.low == pytest.approx(b.low, rel=1e-5, abs=1e-9), a.name


def test_the_scale_of_the_activations_moves_the_raw_numbers_only(planted):
    small = planted(shift=2.0, boundary=12).diagnose()
    large = planted(shift=2.0, boundary=12, scale=1000.0).diagnose()
    for a, b in zip(small.findings, large.findings, strict=True):
        factor = 1000 if a.name == "raw separation" else 1
        assert b.value == pytest.approx(a.value * factor, rel=1e-4), a.name


def test_the_reference_mode_reports_the_published_names_at_the_published_layers(planted):
    world = planted(mode="reference", shift=3.0, boundary=10, layers=12)
    diagnosis = world.diagnose()
    wants = list(world.acts.arrays)
    assert [want.layers for want in wants] == [(3,), (7,)]
    assert all(isinstance(want.positions, All) and isinstance(want.reduce, MeanTokens) for want in wants)
    assert {(want.text, want.truncate) for want in wants} == {("exchange", 1024)}
    x = world.acts.arrays[wants[0]][:, 0, 0]
    (first, second) = named(diagnosis, "separation_score")
    assert first.value == pytest.approx(np.linalg.norm(x[:24].mean(axis=0) - x[24:48].mean(axis=0)), rel=1e-6)
    assert (first.site.layer, second.site.layer) == (3, 7)
    ratio, bound_safe, bound_harmful = (
        named(diagnosis, name)[0].value for name in ("boundary_ratio", "dist_bound_safe", "dist_bound_harmful")
    )
    assert ratio == pytest.approx(bound_safe / bound_harmful)
    assert diagnosis.mode == "reference" and "do not compare across models" in diagnosis.caveats[0]
    assert [figure.name for figure in diagnosis.figures] == [
        "plane, layer 3, mean of all tokens",
        "plane, layer 7, mean of all tokens",
    ]


def test_an_infinite_reference_ratio_is_none_and_said(planted):
    world = planted(mode="reference", boundary=24, harmful=24)
    for array in world.acts.arrays.values():
        array[48:72] = array[:24]
    finding = named(world.diagnose(), "boundary_ratio")[0]
    assert finding.value is None and finding.summary.startswith("Infinite")


def test_the_reference_looks_at_the_embedding_of_a_model_of_two_layers():
    first, second = XBoundary(mode="reference").wants(None, Geometry(2, 4, 1, 4, 4, 9))
    assert first.site == "embed" and second.layers == (0,)


def test_the_corrected_mode_looks_past_the_template_at_every_layer():
    prompt, exchange = (XBoundary(text=text).wants(None, Geometry(4, 4, 1, 4, 4, 9)) for text in ("prompt", "exchange"))
    assert [want.positions for want in prompt] == [Last(), Span(name="user")]
    assert [want.positions for want in exchange] == [Span(name="response", last=True), Span(name="response")]
    assert all(want.layers is None and want.text == "exchange" for want in exchange)


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_a_missing_boundary_class_is_a_caveat(planted, mode):
    diagnosis = planted(mode=mode).diagnose()
    assert any("No sample is in the boundary class ('label:boundary')" in caveat for caveat in diagnosis.caveats)
    assert not named(diagnosis, "boundary position") and not named(diagnosis, "boundary_ratio")


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"harmful": 0}, r"x-boundary: the harmful class \('label:harmful'\) spans 0 clusters \(0 of 24 samples\)"),
        ({"safe": 2}, r"x-boundary: the safe class \('label:harmful=false'\) spans 2 clusters .* needs 3 at least"),
    ],
)
def test_a_missing_class_is_refused_by_name_with_its_selector(planted, mode, options, message):
    with pytest.raises(DiagnosticError, match=message):
        planted(mode=mode, **options).diagnose()


def test_a_sample_of_two_classes_is_refused(planted):
    world = planted(boundary=3)
    twice = world.diagnostic.model_copy(update={"boundary": "label:harmful"})
    with pytest.raises(DiagnosticError, match="x-boundary: sample 's000' is both harmful"):
        twice.diagnose(world.evidence, world.acts, None)


def test_a_nan_is_refused_in_its_name(planted):
    world = planted()
    next(iter(world.acts.arrays.values()))[3, 1, 0, 0] = np.inf
    with pytest.raises(DiagnosticError, match=r"x-boundary: .* sample 's003' at layer 1 hold NaN or infinity"):
        world.diagnose()


def test_classes_without_any_spread_are_refused(planted):
    world = planted()
    for array in world.acts.arrays.values():
        array[:] = 0.3
    with pytest.raises(DiagnosticError, match="x-boundary: all samples of a class have the same"):
        world.diagnose()


def test_unbalanced_classes_are_served(planted):
    assert main(planted(shift=6.0, harmful=5, safe=80).diagnose(), "separation").p < 0.05


def test_classes_other_than_those_of_the_run_are_pointed_out(planted):
    world = planted()
    evidence = type(world.evidence)(world.evidence.samples, contrast_by="verdict:refused")
    diagnosis = world.diagnostic.diagnose(evidence, world.acts, None)
    assert any("not from the run's contrast 'verdict:refused'" in caveat for caveat in diagnosis.caveats)


@pytest.mark.parametrize("options", [{}, {"shift": 3.0, "boundary": 5}, {"mode": "reference", "boundary": 5}])
def test_it_survives_json_without_nan(planted, options):
    diagnosis = planted(**options).diagnose()
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    for finding in diagnosis.findings:
        numbers = (finding.value, finding.low, finding.high, finding.null_low, finding.null_high, finding.p)
        assert all(number is None or math.isfinite(number) for number in numbers), finding.name
