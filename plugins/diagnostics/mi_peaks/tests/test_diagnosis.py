"""The corrected mode finds a planted step, says whose it is, and finds nothing where nothing was planted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from deepsight_mi_peaks import MIPeaks

from deepsight_core import run
from deepsight_core.discovery import Catalogue
from deepsight_core.errors import DiagnosticError
from deepsight_core.hub import Hub
from deepsight_core.inside import Geometry, Steps
from deepsight_core.protocol import Diagnosis
from deepsight_core.testing import GlassModel, KeywordJudge, TinyDataset


class Problems(TinyDataset):
    """Made-up questions with reference answers."""

    name = "problems"

    def samples(self):
        for sample in super().samples():
            yield sample.model_copy(update={"target": f"the solution of {sample.id}"})


def one(diagnosis, name, layer=1):
    (finding,) = [found for found in diagnosis.findings if found.name == name and found.site.layer == layer]
    return finding


def figure(diagnosis, name):
    return next(found for found in diagnosis.figures if found.name == name)


@pytest.fixture
def planted(world, glass, filler):
    """Eight answers of 40 steps; the 13th, "so", copies the state of the problem's own reference answer."""

    def build(**options):
        words = [filler(number, 40).split() for number in range(8)]
        answers = [" ".join([*row[:12], "so", *row[12:]]) for row in words]
        return world(answers=answers, inside=glass(copies="so", scale=options.pop("scale", 1.0)), **options)

    return build


def test_a_planted_step_is_found_named_and_marked(planted):
    diagnosis = planted().diagnose()
    strongest = one(diagnosis, "strongest step")
    assert strongest.value == pytest.approx(1.0) and strongest.value > strongest.null_high
    assert all(line["strongest token"] == " so" for line in diagnosis.table.values())
    assert 12 in figure(diagnosis, "steps of s00").marks
    word = one(diagnosis, "peaks at 'so'")
    assert word.p < 0.05 and word.low > 0 and word.count == 8


def test_a_planted_step_is_about_its_own_answer(planted):
    diagnosis = planted().diagnose()
    own = one(diagnosis, "own answer over other answers")
    assert own.low > 0 and own.p < 0.05
    assert one(diagnosis, "control: peaks that other reference answers give too").value < 0.5
    assert "is about this answer rather than any" in diagnosis.summary


def test_the_scale_of_the_activations_changes_the_published_value_only(planted):
    small, large = planted(scale=0.01).diagnose(), planted(scale=1.0).diagnose()
    assert one(small, "dependence").value == pytest.approx(one(large, "dependence").value, rel=1e-3)
    published = [one(found, "published value (sigma 50)").value for found in (small, large)]
    assert published[0] < 0.01 * published[1]


def test_states_that_are_alike_for_all_problems_are_about_none(world, glass, filler):
    class Shared(glass):
        def _target(self, id):
            return super()._target("the same")

    answers = [f"{filler(number, 30)} so {filler(number + 9, 5)}" for number in range(8)]
    diagnosis = world(answers=answers, inside=Shared(copies="so")).diagnose()
    assert one(diagnosis, "strongest step").value > one(diagnosis, "strongest step").null_high
    assert one(diagnosis, "own answer over other answers").value == pytest.approx(0, abs=1e-12)
    assert one(diagnosis, "control: peaks that other reference answers give too").value == 1.0
    assert "about this answer does not show" in diagnosis.summary


def test_a_peak_at_one_step_of_all_answers_is_one_of_position(planted):
    assert one(planted().diagnose(), "control: peaks beyond position").value < 0.7


def test_where_nothing_is_planted_the_headline_stays_in_its_band(world, glass, filler):
    loud = 0
    for seed in range(100):
        answers = [filler(number, 20) for number in range(5)]
        made = world(
            answers=answers, inside=glass(seed=seed, layers=1), layers=(0,), seed=seed, resamples=100, others=2
        )
        diagnosis = made.diagnose()
        strongest = one(diagnosis, "strongest step", layer=0)
        loud += strongest.value > strongest.null_high
    assert loud <= 5


def test_the_main_layer_is_fixed_in_advance_or_named(planted):
    assert planted().diagnose().findings[0].site.layer == 1
    assert planted(layer=-1).diagnose().findings[0].site.layer == 2
    with pytest.raises(DiagnosticError, match="layer 7 is out of range: this model has layers 0 to 2"):
        planted(layer=7).diagnose()
    with pytest.raises(DiagnosticError, match="layer 2 is to be told first but is not among layers"):
        planted(layer=2, layers=(0, 1)).diagnose()


def test_long_answers_are_cut_and_the_reader_is_told(planted):
    diagnosis = planted(max_steps=20).diagnose()
    assert {line["steps"] for line in diagnosis.table.values()} == {20.0}
    assert any("8 of 8 answers were cut at 20 tokens (max_steps): 168 tokens" in text for text in diagnosis.caveats)


def test_right_and_wrong_answers_are_compared_where_there_are_verdicts(planted):
    diagnosis = planted(verdicts=["correct", "wrong"] * 4).diagnose()
    share = one(diagnosis, "peak share, correct less wrong")
    assert share.low <= share.value <= share.high and share.count == 8
    assert not [f for f in planted(verdicts=["wrong"] * 8).diagnose().findings if "less wrong" in f.name]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_answers_of_very_few_tokens_have_no_peaks_and_do_no_harm(world, filler, steps):
    diagnosis = world(answers=[filler(number, steps) for number in range(3)]).diagnose()
    assert one(diagnosis, "peaks per answer").value == 0
    assert one(diagnosis, "height of peaks").value is None


def test_a_sample_without_a_reference_answer_is_named_before_anything_runs(world, filler):
    made = world(answers=[filler(0, 5)] * 2, targets=["a solution", None])
    with pytest.raises(DiagnosticError, match=r"1 of 2 samples have no reference answer as text .*'s01'.*gsm8k"):
        made.diagnostic.wants(made.evidence, Geometry(2, 8, 1, 8, 8, 10))


def test_a_single_problem_is_held_against_nobody_else_and_has_no_interval(world, filler):
    diagnosis = world(answers=[filler(0, 30)]).diagnose()
    assert not [found for found in diagnosis.findings if found.name.startswith("own answer")]
    assert one(diagnosis, "strongest step").low is None
    assert any("one independent problem only" in text for text in diagnosis.caveats)


def test_problems_of_one_cluster_are_never_each_others_others(planted):
    diagnosis = planted(clusters=["a"] * 7 + ["b"]).diagnose()
    assert any("of 1 other problems" in text for text in diagnosis.caveats)


def test_states_that_hold_nan_are_refused_by_name(world, glass, filler):
    class Broken(glass):
        def _steps(self, prompt, want):
            return np.full_like(super()._steps(prompt, want), np.nan)

    with pytest.raises(DiagnosticError, match="answer to 's00' hold NaN or infinity"):
        world(answers=[filler(0, 5)], inside=Broken()).diagnose()


def test_the_order_of_the_samples_changes_nothing(planted):
    made = planted()
    turned = type(made.evidence)(made.evidence.samples[::-1], made.evidence.records[::-1])
    assert type(made)(turned, made.inside, made.diagnostic).diagnose() == made.diagnose()


def test_a_diagnosis_survives_json_and_holds_no_nan(planted):
    diagnosis = planted().diagnose()
    text = diagnosis.model_dump_json()
    assert Diagnosis.model_validate_json(text) == diagnosis
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert all(found.value is None or math.isfinite(found.value) for found in diagnosis.findings)


def test_figures_show_tokens_steps_and_layers(planted):
    diagnosis = planted().diagnose()
    single = figure(diagnosis, "steps of s00")
    assert len(single.words) == len(single.values) == 41
    assert single.low[0] < 0 < single.high[0] < single.values[12]
    heat = figure(diagnosis, "layers and steps")
    assert len(heat.rows) == 3 and heat.columns[0] == "0-1"


def test_it_wants_the_reference_answers_and_the_steps_of_the_answers_at_the_same_layers(planted):
    made = planted(layers=(0, 2))
    reference, steps = made.diagnostic.wants(made.evidence, made.inside.geometry)
    assert (reference.text, reference.raw, reference.layers) == ("target", False, (0, 2))
    assert (steps.text, steps.positions, steps.layers) == ("exchange", Steps(stop=256), (0, 2))


def test_it_runs_beside_an_evaluation(tmp_path):
    hub = Hub(Catalogue())
    hub.adopt(GlassModel, Problems, KeywordJudge, MIPeaks)
    asked = {"name": "mi-peaks", "correct": "verdict:complied"}
    made = run(GlassModel(), [Problems(size=6)], [asked], hub=hub, out=tmp_path, reports=[], quiet=True)
    (diagnosis,) = made.report.diagnoses
    assert diagnosis.error is None
    assert len(diagnosis.table) == 6
    assert figure(diagnosis, "steps of tiny-0").words[0] == "you"
