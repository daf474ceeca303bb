"""The diagnosis finds the layer from which samples lean to refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsight_core.errors import DiagnosticError
from deepsight_core.protocol import Diagnosis, Finding


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


def test_the_decision_layer_is_the_planted_one(planted: Any) -> None:
    (found,) = named(planted().diagnose(), "decision layer")
    assert (found.value, found.high) == (2, 2) and found.low >= 1
    assert found.headline


def test_the_gap_is_significant_where_it_was_planted_alone(planted: Any) -> None:
    profile = {finding.site.layer: finding for finding in named(planted().diagnose(), "gap of refusal log-odds")}
    assert [layer for layer, finding in profile.items() if finding.p <= 0.05] == [2, 3]
    assert profile[3].headline and not profile[2].headline


def test_each_sample_says_when_its_refusal_appears(planted: Any) -> None:
    table = planted(strength=8.0).diagnose().table
    rows = [row for id, row in table.items() if int(id[-3:]) % 2 == 0]
    appear = [row["refusal appears at layer"] for row in rows]
    assert appear.count(2) > 0.8 * len(appear)
    assert all(row["refusal gone from layer"] is None for row in rows if row["refusal log-odds"] > 0)


def test_what_the_model_did_gets_a_profile_of_its_own(planted: Any) -> None:
    assert len(named(planted().diagnose(), "gap where refused")) == 4


def test_the_best_refusal_token_comes_first_where_it_was_planted(planted: Any) -> None:
    found = {f.site.layer: f for f in named(planted().diagnose(), "rank of the best refusal token, harmful")}
    assert found[3].value == 1 and found[0].value > 1


def test_a_model_that_hardly_refuses_gets_no_claim_about_its_refusals(planted: Any) -> None:
    diagnosis = planted(refused=lambda number: number == 0).diagnose()
    assert "refuses too rarely (1 of 48 answers)" in diagnosis.summary


def test_without_a_gap_there_is_no_decision_layer(planted: Any) -> None:
    diagnosis = planted(strength=0.0).diagnose()
    (found,) = named(diagnosis, "decision layer")
    assert found.value is None
    assert "no more than shuffled labels give" in diagnosis.summary


def test_noise_is_found_beyond_the_null_in_few_seeds(planted: Any) -> None:
    found = 0
    for seed in range(100):
        diagnosis = planted(seed=f"{seed}-", strength=0.0, looked=0, permutations=199).diagnose()
        found += any(finding.p <= 0.05 for finding in named(diagnosis, "gap of refusal log-odds"))
    assert found <= 10  # 5 are expected; more than 10 come about once in 100


def test_the_order_of_the_samples_changes_nothing(planted: Any) -> None:
    assert planted().diagnose().findings == planted(order=-1).diagnose().findings


def test_the_maps_have_a_row_for_every_layer(planted: Any) -> None:
    cohorts, steps = planted().diagnose().figures
    assert len(cohorts.rows) == len(steps.rows) == 4
    assert cohorts.columns == ("harmful, refused (24)", "not harmful, answered (24)")
    assert steps.columns == ("0", "1", "2", "3")


def tensors(layer: int, width: int = 16) -> dict[str, np.ndarray]:
    return {f"{layer}.weight": np.zeros((width, width), np.float32), f"{layer}.bias": np.zeros(width, np.float32)}


def test_a_tuned_lens_gets_a_profile_of_the_layers_that_it_maps(planted: Any, tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "maps.safetensors"
    numpy.save_file({**tensors(1), **tensors(3)}, path)
    found = named(planted(maps=path).diagnose(), "gap under the tuned lens")
    assert [finding.site.layer for finding in found] == [1, 3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tensors(1, width=8), "has shape"),
        (tensors(9), "the model has layers 0 to 3"),
        ({"1.weight": np.zeros((16, 16), np.float32)}, "lacks '1.bias'"),
    ],
)
def test_maps_that_do_not_fit_are_refused(planted: Any, tmp_path: Path, given: Any, message: str) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "maps.safetensors"
    numpy.save_file(given, path)
    with pytest.raises(DiagnosticError, match=message):
        planted(maps=path).diagnose()
