"""A tiny transformer with one neuron that refuses: it is found, and refusal falls without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deepsight_safety_neurons import SafetyNeurons
from deepsight_safety_neurons.scores import changes

from deepsight_core.errors import DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Diagnosis, Finding

torch = pytest.importorskip("torch")
pytest.importorskip("deepsight_torch", reason="deepsight-torch is not installed")
testing = pytest.importorskip("deepsight_torch.testing")
torch.set_num_threads(1)
LAYER, NEURON = 2, 7


def with_neuron(strength: float = 1.0, store: Path | None = None) -> Any:
    """The planted head writes what one neuron of a later block reads; that neuron alone writes the refusal."""
    inside = testing.refusing(layer=1, head=2)
    model = inside.sites.model
    writes = torch.eye(testing.WIDTH)[1]
    with torch.no_grad():
        relay = torch.eye(testing.WIDTH)[2]
        attention = model.model.layers[1].self_attn
        column = 2 * (testing.WIDTH // testing.HEADS)
        attention.o_proj.weight[:, column] = 4 * relay
        model.get_input_embeddings().weight[:, 2] = 0
        model.get_output_embeddings().weight[:, 2] = 0
        mlp = model.model.layers[LAYER].mlp
        mlp.gate_proj.weight[NEURON] = strength * 4 * relay
        mlp.up_proj.weight[NEURON] = strength * 4 * relay
        mlp.down_proj.weight[:, NEURON] = 4 * writes
    return testing.TransformersInside(model, testing.tokenizer(), digest=f"neuron {strength}", store=store)


def diagnosed(inside: Any, evidence: Evidence, **options: Any) -> Diagnosis:
    options = {"share": 1 / 192, "randoms": 39, "examples": 12, **options}
    diagnostic = SafetyNeurons.model_validate(options)
    acts = inside.run(diagnostic.wants(evidence, inside.geometry), evidence.prompts)
    return diagnostic.diagnose(evidence, acts, inside)


def named(diagnosis: Diagnosis, name: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.name == name]


@pytest.fixture(scope="module")
def compared() -> Diagnosis:
    evidence = replace(testing.twins(40), others={"reference": with_neuron(0.0)})
    return diagnosed(with_neuron(), evidence)


@pytest.fixture(scope="module")
def alone() -> Diagnosis:
    return diagnosed(with_neuron(), testing.twins(40), share=0.3, shown=60)


def assert_needed(diagnosis: Diagnosis) -> None:
    (fell,) = named(diagnosis, "refusal score of harmful prompts with top neurons replaced")
    assert fell.high < -2 and fell.value < fell.null_low and fell.p <= 0.05 and fell.evidence == "intervention"
    assert "Refusal needs them" in diagnosis.summary


def test_the_neuron_that_the_two_models_differ_in_is_found_and_refusal_needs_it(compared: Diagnosis) -> None:
    (best,) = named(compared, "score of a neuron")
    assert (best.site.layer, best.site.unit) == (LAYER, NEURON)
    assert_needed(compared)


def test_without_a_second_model_it_is_among_those_that_tell_the_sides_apart(alone: Diagnosis) -> None:
    found = {(f.site.layer, f.site.unit) for f in named(alone, "score of a neuron")}
    assert (LAYER, NEURON) in found and alone.mode == "one model"
    assert_needed(alone)


def test_layers_before_the_neuron_did_not_change(compared: Diagnosis) -> None:
    moved = [f.value for f in named(compared, "relative change between the models")]
    assert moved[:LAYER] == [0, 0] and moved[LAYER] > 0
    assert "layers without any change: 0, 1" in compared.summary


def test_nothing_that_was_read_of_either_model_is_kept(tmp_path: Path) -> None:
    stores = [tmp_path / name for name in ("target", "reference")]
    inside, reference = (with_neuron(strength, store) for strength, store in zip((1.0, 0.0), stores, strict=True))
    changes(inside, reference, testing.twins(4).prompts, tokens=2)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_model_against_itself_says_that_nothing_changed() -> None:
    evidence = replace(testing.twins(12), others={"reference": with_neuron()})
    assert diagnosed(with_neuron(), evidence, randoms=5).summary.startswith("The two models have the same activations")


def test_a_model_that_hardly_refuses_has_no_neurons_for_it() -> None:
    inside, evidence = testing.refusing(strength=0.0), testing.twins(20, refuses=False)
    diagnosis = diagnosed(inside, evidence, randoms=5)
    assert "hardly refuses" in diagnosis.summary and "Refusal needs" not in diagnosis.summary


def test_every_number_is_finite_and_survives_json(compared: Diagnosis, alone: Diagnosis) -> None:
    for diagnosis in (compared, alone):
        assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


def test_too_few_samples_are_an_error_in_the_diagnostics_name() -> None:
    with pytest.raises(DiagnosticError, match="safety-neurons: 4 folds need 4 independent clusters"):
        diagnosed(with_neuron(), testing.twins(3))
