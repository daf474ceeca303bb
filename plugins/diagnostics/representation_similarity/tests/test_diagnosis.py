"""Two models that part at a planted layer, cohorts that part at another, and noise that does neither."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from deepsight_representation_similarity import RepresentationSimilarity

from deepsight_core import Acts, Diagnosis, Evidence, Geometry, Sample, user
from deepsight_core.errors import DiagnosticError
from deepsight_core.hub import Hub

LAYERS, WIDTH = 5, 12
GEOMETRY = Geometry(layers=LAYERS, width=WIDTH, heads=1, head_width=12, neurons=12, vocabulary=10)


class Seen:
    """A model of which nothing is known but the states that it is given."""

    geometry = GEOMETRY

    def __init__(self, states: dict[str, np.ndarray]) -> None:
        self.states = states

    def run(self, wants: Any, prompts: Any, edits: Any = ()) -> Acts:
        ids = tuple(prompt.id for prompt in prompts)
        array = np.stack([self.states[id] for id in ids])[:, :, None].astype(np.float32)
        return Acts(ids, {wants[0]: array}, {wants[0]: tuple(range(LAYERS))})


def world(
    shift: float = 0.0, start: int = 2, seed: int = 0, pairs: int = 30, parts: int | None = None, shared: float = 0.0,
    reverse: bool = False, **options: Any,
) -> Diagnosis:  # fmt: skip
    """Pairs of which the harmful ones are shifted from layer `start` on; the reference, if any, is another from layer
    `parts` on (LAYERS for never); twins share a part of their states."""
    rng = np.random.default_rng(seed)
    samples = tuple(
        Sample(id=f"s{n:03}", messages=(user("q"),), group=f"p{n // 2}", labels={"harmful": n % 2 == 0})
        for n in range(2 * pairs)
    )
    states = rng.normal(size=(2 * pairs, LAYERS, WIDTH))
    states += shared * np.repeat(rng.normal(size=(pairs, LAYERS, WIDTH)), 2, axis=0)
    states[::2, start:, 0] += shift
    others: dict[str, Any] = {}
    if parts is not None:
        theirs = states @ np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        theirs[:, parts:] += rng.normal(size=theirs[:, parts:].shape)
        others = {"reference": Seen(dict(zip((s.id for s in samples), theirs, strict=True)))}
    evidence = Evidence(samples[::-1] if reverse else samples, others=others)
    diagnostic = RepresentationSimilarity.model_validate({"components": 3, "permutations": 60, **options})
    inside: Any = Seen(dict(zip((s.id for s in samples), states, strict=True)))
    acts = inside.run(diagnostic.wants(evidence, GEOMETRY), evidence.prompts)
    return diagnostic.diagnose(evidence, acts, SimpleNamespace(geometry=GEOMETRY))  # type: ignore[arg-type]


def profile(diagnosis: Diagnosis, name: str) -> list[Any]:
    return [finding for finding in diagnosis.findings if finding.name == name]


def test_two_models_part_at_the_planted_layer_and_not_by_a_rotation() -> None:
    diagnosis = world(parts=3)
    found = profile(diagnosis, "similarity of target and reference")
    assert [f.value for f in found[:3]] == pytest.approx([1, 1, 1], abs=1e-5)
    assert all(f.high < 0.99 and f.value > f.null_high for f in found[3:])
    assert diagnosis.summary.startswith("Target and reference part at layer 3")
    assert [figure.name for figure in diagnosis.figures] == ["target and reference", "layers"]


def test_models_that_are_alike_are_said_to_be() -> None:
    assert world(parts=LAYERS).summary.startswith("Target and reference represent the samples alike at every layer")


def test_without_a_reference_layers_and_cohorts_are_compared_and_the_caveat_says_what_is_missing() -> None:
    diagnosis = world()
    assert not profile(diagnosis, "similarity of target and reference")
    assert any("role `reference`" in caveat for caveat in diagnosis.caveats)
    assert len(profile(diagnosis, "similarity with the next layer")) == LAYERS - 1


def test_cohorts_are_arranged_apart_from_the_planted_layer_on() -> None:
    found = profile(world(shift=3.0), "structure by harmful")
    assert [f.p <= 0.05 for f in found] == [False, False, True, True, True]
    assert all(f.low > 0 for f in found[2:])


def test_noise_is_arranged_by_its_labels_in_at_most_five_of_a_hundred_seeds() -> None:
    claimed = [
        not world(seed=seed, pairs=12, permutations=39, spaces=10).summary.startswith("At no layer")
        for seed in range(100)
    ]
    assert sum(claimed) <= 10, "five are expected"


def test_twins_that_share_their_states_are_arranged_alike() -> None:
    name = "similarity of harmful samples and their twins"
    assert all(f.p <= 0.05 and f.value > 0.5 for f in profile(world(shared=2.0), name))
    assert all(abs(f.value) < 0.3 for f in profile(world(), name))


def test_the_order_of_the_samples_changes_nothing() -> None:
    assert world(shift=2.0, parts=3) == world(shift=2.0, parts=3, reverse=True)


def test_every_number_is_finite_and_survives_json() -> None:
    diagnosis = world(shift=2.0, parts=3)
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


def test_more_samples_than_allowed_are_drawn_as_whole_pairs_and_said() -> None:
    diagnosis = world(most=40)
    assert profile(diagnosis, "structure by harmful")[0].count == 40
    assert any("20 samples were left out" in caveat for caveat in diagnosis.caveats)


def test_too_few_samples_are_an_error_in_the_diagnostics_name() -> None:
    with pytest.raises(DiagnosticError, match="representation-similarity: each side of 'label:harmful' needs 4"):
        world(pairs=3)


def test_the_plugin_is_found() -> None:
    assert isinstance(Hub().create("diagnostic", "representation-similarity"), RepresentationSimilarity)
