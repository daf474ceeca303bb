"""What cannot be diagnosed is refused in the diagnostic's name, and costs the run nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from deepsight_core import (
    Acts,
    Dataset,
    Diagnosis,
    Diagnostic,
    Evidence,
    Geometry,
    Inside,
    Sample,
    Want,
    assistant,
    user,
)
from deepsight_core.config import configure
from deepsight_core.errors import CapabilityError
from deepsight_core.hub import Hub
from deepsight_core.inside import Prompt
from deepsight_core.progress import Progress
from deepsight_core.session import Run, execute
from deepsight_core.testing import GlassInside, GlassModel, ScriptedModel


class Texts(Dataset):
    """As many harmful, safe and boundary texts as asked for."""

    name: ClassVar[str] = "texts"
    harmful: int = 8
    safe: int = 8
    boundary: int = 4

    def samples(self) -> Iterator[Sample]:
        for kind in ("harmful", "safe", "boundary"):
            for number in range(getattr(self, kind)):
                yield Sample(
                    id=f"{kind}-{number}",
                    messages=(user(f"{'long ' * number}text {number}"), assistant("an answer")),
                    labels={"harmful": kind == "harmful", "boundary": kind == "boundary"},
                )


class Count(Diagnostic):
    """How many prompts there were: stands for all other diagnostics."""

    name = "count"
    layers: tuple[int, ...] | None = None

    def wants(self, evidence: Evidence, geometry: Geometry) -> Sequence[Want]:
        return [Want(layers=self.layers)]

    def diagnose(self, evidence: Evidence, acts: Acts, inside: Inside) -> Diagnosis:
        return Diagnosis(diagnostic=self.name, summary=f"{len(acts.ids)} prompts")


class Broken(GlassInside):
    """Overflows on one prompt."""

    def run(self, wants: Sequence[Want], prompts: Sequence[Prompt], *more: Any) -> Acts:
        acts = super().run(wants, prompts, *more)
        for array in acts.arrays.values():
            array[2] = np.nan
        return acts


@pytest.fixture
def diagnose(tmp_path: Path) -> Callable[..., Run]:
    def both(data: Texts, model: Any = None, other: dict[str, Any] | None = None, **options: Any) -> Run:
        hub = Hub()
        hub.adopt(Count)
        entries = [
            {"diagnostic": {"name": "x-boundary", "permutations": 20, "resamples": 100, **options}, "data": data},
            {"diagnostic": {"name": "count", **(other or {})}, "data": data},
        ]
        roles = {"target": {"model": model or GlassModel()}}
        settings = {"roles": roles, "diagnose": entries, "out": tmp_path / "runs", "reports": []}
        return execute(configure(settings), hub, Progress(quiet=True))

    return both


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Texts(harmful=0), {}, r"the harmful class ('label:harmful') spans 0 clusters (0 of 12 samples)"),
        (Texts(safe=0), {}, "the safe class ('label:harmful=false') spans 0 clusters"),
        (Texts(), {"harmful": "label:colour"}, "the harmful class ('label:colour') spans 0 clusters"),
        (Texts(), {"harmful": "verdict:complied"}, "the harmful class ('verdict:complied') spans 0 clusters"),
        (Texts(), {"safe": "label:harmful"}, "is both harmful ('label:harmful') and safe ('label:harmful')"),
        (Texts(), {"harmful": "colour"}, "unknown selector 'colour'"),
    ],
)
def test_a_class_that_is_missing_is_named_and_the_other_diagnostics_run(diagnose, mode, data, options, message):
    made = diagnose(data, mode=mode, **options)
    failed, fine = made.report.diagnoses
    assert failed.diagnostic == "x-boundary" and failed.error is not None and message in failed.error
    assert any("diagnostic x-boundary failed" in note and message in note for note in made.report.notes)
    assert fine.error is None and fine.summary.endswith("prompts")


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_activations_that_are_no_numbers_are_refused_with_the_sample(diagnose, monkeypatch, mode):
    monkeypatch.setattr(GlassModel, "inside", lambda self, store=None: Broken())
    failed, fine = diagnose(Texts(), mode=mode).report.diagnoses
    assert failed.error is not None and "x-boundary: " in failed.error
    assert "'harmful-2'" in failed.error and "NaN or infinity" in failed.error
    assert fine.error is None


def test_another_diagnostics_layer_out_of_range_costs_x_boundary_nothing(diagnose):
    fine, failed = diagnose(Texts(), other={"layers": [99]}).report.diagnoses
    assert fine.error is None and fine.findings
    assert failed.error is not None and "layer 99 is out of range" in failed.error


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_classes_of_very_different_size_are_served(diagnose, mode):
    diagnosis, _ = diagnose(Texts(harmful=3, safe=60, boundary=1), mode=mode).report.diagnoses
    assert diagnosis.error is None and diagnosis.findings


def test_a_model_that_cannot_be_looked_into_is_refused_before_anything_runs(diagnose, tmp_path):
    with pytest.raises(CapabilityError, match="'x-boundary' needs a target with capability 'whitebox'"):
        diagnose(Texts(), model=ScriptedModel())
    assert not list(tmp_path.rglob("manifest.json"))
