"""The published rules: the draw of examples, counts a matrix, ratios and their names."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from deepsight_spin.published import RATE, RATIO, SHARE

PERMUTATION = [459, 206, 222, 162, 711, 814, 350, 890, 518, 264, 683, 674]
"""The first rows that the reference draws of a thousand with seed 0."""


def test_the_reference_draws_the_published_rows(world):
    made = world(mode="reference", count=1000, examples=12, share=0.02)
    made.diagnose()
    assert made.inside.drawn == {
        "first": [f"privacy-{row:03}" for row in PERMUTATION],
        "second": [f"fairness-{row:03}" for row in PERMUTATION],
    }


def test_the_reference_reads_raw_texts_without_the_first_token_in_one_block(world):
    made = world(mode="reference")
    made.diagnose()
    assert made.inside.calls == [{"depth": 0.02, "blocks": 1, "parts": ("mlp",), "raw": True, "drop_first": True}]


@pytest.mark.parametrize(
    ("rows", "columns", "count"),
    [(3584, 18944, 33), (3584, 512, 0), (8192, 28672, 117), (8192, 29568, 121), (4096, 1408, 2)],
)
def test_the_published_share_of_known_matrices(rows, columns, count):
    assert int(SHARE * rows * columns) == count
    if count:
        assert log(count / (rows * columns)) <= log(SHARE)


def test_ratio_and_rate_follow_from_the_tops(world):
    made = world(mode="reference", apart=1.0)
    found = {finding.name: finding for finding in made.diagnose().findings if finding.site is None}
    importance = made.inside.importance(
        {name: [p for p in made.evidence.prompts if p.id in made.inside.drawn[name]] for name in ("first", "second")},
        depth=0.02,
    )
    coupled = 0
    for places, scores in zip(importance.indices, importance.scores, strict=True):
        first, second = (set(places[np.argsort(-row)[:20]]) for row in scores.sum(axis=1))
        coupled += len(first & second)
    assert found["coupled"].value == coupled
    assert found["candidate_dataset1"].value == found["candidate_dataset2"].value == 6 * 20
    assert found["total_neurons"].value == 6000
    assert found[RATIO].value == coupled / 6000 and found[RATE].value == coupled / 120
    assert found["coupling index"].value == pytest.approx(log(coupled / 6000))


def test_a_matrix_without_gradient_has_no_candidates_but_counts_in_the_total(world):
    made = world(mode="reference")
    plain = made.inside._example

    def dry(matrix, prompt):
        none = matrix.layer == 2 and prompt.labels["set"] == "fairness"
        return np.zeros(matrix.size) if none else plain(matrix, prompt)

    made.inside._example = dry
    diagnosis = made.diagnose()
    found = {finding.name: finding.value for finding in diagnosis.findings if finding.site is None}
    assert (found["candidate_dataset1"], found["candidate_dataset2"], found["total_neurons"]) == (120, 80, 6000)
    assert any("2 of 6 matrices got no gradient" in caveat for caveat in diagnosis.caveats)


def test_the_profile_adds_up_to_the_total(world):
    diagnosis = world(mode="reference", apart=1.0).diagnose()
    profile = [finding.value for finding in diagnosis.findings if finding.name == "coupled in layer"]
    assert len(profile) == 3
    assert sum(profile) == next(finding.value for finding in diagnosis.findings if finding.name == "coupled")
