"""The diagnostic finds what was planted, is quiet where nothing was, and says what it cannot do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deepsight_tellme import Tellme
from deepsight_tellme.published import published

from deepsight_core import Acts, Diagnosis, Evidence, Geometry, Sample, assistant, user
from deepsight_core.errors import DiagnosticError
from deepsight_core.hub import Hub

GEOMETRY = Geometry(layers=6, width=12, heads=1, head_width=12, neurons=12, vocabulary=10)


def world(
    shift: float = 0.0, start: int = 3, seed: int = 0, count: int = 48, unsafe: int = 24, **options: Any
) -> Diagnosis:
    """Made-up texts of which the unsafe ones are moved along one coordinate from a layer on."""
    reverse, spoil = options.pop("reverse", False), options.pop("spoil", False)
    numbers = range(count)[::-1] if reverse else range(count)
    samples = tuple(
        Sample(
            id=f"s{n:03}",
            messages=(user("q"), assistant("a")),
            labels={"harmful": n < unsafe, "category": "safe" if n >= unsafe else "ab"[n % 2]},
        )
        for n in numbers
    )
    diagnostic = Tellme.model_validate({"permutations": 50, **options})
    stack = np.random.default_rng(seed).normal(size=(count, 6, 1, 12)).astype(np.float32)
    stack[:unsafe, start:, 0, 0] += shift
    if spoil:
        stack[3, 2, 0, 0] = np.nan
    evidence, arrays, layers = Evidence(samples), {}, {}
    for want in diagnostic.wants(evidence, GEOMETRY):
        chosen = want.layers if want.layers is not None else tuple(range(6))
        arrays[want], layers[want] = stack[list(numbers)][:, list(chosen)], chosen
    lengths = {"exchange": np.array([10 + n % 7 for n in numbers])}
    inside: Any = SimpleNamespace(geometry=GEOMETRY)
    acts = Acts(tuple(s.id for s in samples), arrays, layers, lengths)  # type: ignore[arg-type]
    return diagnostic.diagnose(evidence, acts, inside)


def profile(diagnosis: Diagnosis, name: str) -> list[Any]:
    found = [f for f in diagnosis.findings if f.name == name and f.site]
    return [f for f in found if f.site.position == "last of the answer"]


def test_a_planted_difference_is_found_at_its_layers_alone() -> None:
    diagnosis = world(shift=4.0)
    for name in ("rate reduction", "energy coefficient"):
        found = profile(diagnosis, name)
        assert [f.p <= 0.05 for f in found] == [False] * 3 + [True] * 3
        assert all(f.low > 0 for f in found[3:]) and all(abs(f.value) < 0.05 for f in found[:3])
    assert "more than shuffled classes" in diagnosis.summary
    assert diagnosis.table["s000"]["class"] == "harmful" and len(diagnosis.figures[0].dots) == 48


def test_noise_is_significant_in_at_most_five_of_a_hundred_seeds() -> None:
    found = [profile(world(seed=seed, permutations=99, layers=(3,)), "rate reduction")[0] for seed in range(100)]
    assert sum(f.p <= 0.05 for f in found) <= 5
    assert np.mean([f.value for f in found]) == pytest.approx(0, abs=0.01)


def test_unbalanced_and_several_classes_are_told_apart_alike() -> None:
    assert profile(world(shift=4.0, unsafe=10), "rate reduction")[4].p <= 0.05
    several = world(shift=4.0, classes="label:category")
    assert profile(several, "rate reduction")[4].p <= 0.05
    assert {f.name for f in several.findings if "rank" in f.name} == {
        "effective rank: a", "effective rank: b", "effective rank: safe",
    }  # fmt: skip


def test_the_order_of_the_samples_changes_nothing() -> None:
    assert world(shift=2.0) == world(shift=2.0, reverse=True)


def test_the_reference_mode_reports_the_published_names_at_the_published_block() -> None:
    diagnosis = world(shift=4.0, mode="reference")
    assert [f.name for f in diagnosis.findings] == [
        "R_diff", "R_same", "R_gap", "erank", "cos_sim", "pcc", "L2", "L1", "hausdorff",
    ]  # fmt: skip
    assert {f.site.layer for f in diagnosis.findings if f.site} == {2}
    assert not any("size" in caveat for caveat in diagnosis.caveats)
    assert any("mix them" in caveat for caveat in world(unsafe=10, mode="reference").caveats)


def test_the_reference_mode_pairs_rows_in_the_order_of_the_data() -> None:
    forward, backward = (
        {f.name: f.value for f in world(shift=4.0, mode="reference", reverse=reverse).findings}
        for reverse in (False, True)
    )
    assert forward["L2"] == pytest.approx(backward["L2"]) and forward["R_gap"] == pytest.approx(backward["R_gap"])
    assert forward["cos_sim"] == pytest.approx(backward["cos_sim"]), "both blocks are reversed: the pairs stay"
    rows = np.random.default_rng(0).normal(size=(48, 6, 1, 12)).astype(np.float32)[:, 2, 0]
    assert forward["pcc"] == pytest.approx(published(rows, np.arange(48) // 24).pcc)


def test_length_is_controlled_for_by_regression_at_the_headline() -> None:
    (rest,) = [f for f in world(shift=4.0).findings if f.name == "rate reduction beyond length"]
    assert rest.p is not None and rest.p <= 0.05 and rest.low is not None and rest.low > 0


def test_the_reference_text_ends_with_the_sentence_and_has_the_tokenizers_specials() -> None:
    (want,) = Tellme(mode="reference").wants(Evidence(()), GEOMETRY)
    assert want.suffix.startswith("Start evaluating") and want.specials and want.text == "exchange"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unsafe": 0}, "tellme: contrast 'label:harmful' needs samples on both sides"),
        ({"unsafe": 2}, "tellme: class 'harmful' of 'label:harmful' spans 2 clusters"),
        ({"classes": "label:nothing"}, "no sample carries it"),
        ({"spoil": True}, "tellme: the resid_out activations of sample 's003'"),
    ],
)
def test_bad_input_is_refused_in_the_diagnostics_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        world(**options)


def test_more_samples_than_allowed_are_drawn_and_said() -> None:
    diagnosis = world(most=30)
    assert any("18 samples were left out" in caveat for caveat in diagnosis.caveats)


def test_the_plugin_is_found() -> None:
    assert isinstance(Hub().create("diagnostic", "tellme"), Tellme)
