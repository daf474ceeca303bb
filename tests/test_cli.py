"""The verbs, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepsight_core.cli import main

PLUGIN = """
from deepsight_core import Diagnosis, Diagnostic, Finding, Metric, Want, hookimpl
from deepsight_core.testing import GlassModel, KeywordJudge, TinyDataset

class Share(Metric):
    \"\"\"Share of refused answers.\"\"\"
    name, better = "share", "lower"
    def per_record(self, record): return float(record.judgements[0].label == "refused")

class Gap(Diagnostic):
    \"\"\"Distance of two means.\"\"\"
    name = "gap"
    layer: int = 2
    \"\"\"Where to look.\"\"\"
    def wants(self, evidence, geometry): return [Want(layers=(self.layer,))]
    def diagnose(self, evidence, acts, inside):
        contrast = evidence.contrast()
        rows = acts[Want(layers=(self.layer,))][acts.rows(contrast.ids), 0, 0, 0]
        gap = float(rows[contrast.y == 1].mean() - rows[contrast.y == 0].mean())
        return Diagnosis(diagnostic="gap", summary="made up", findings=(Finding(name="gap", value=gap, headline=True),))

class Tiny(TinyDataset):
    \"\"\"A few questions.\"\"\"
    metrics = ("share",)

@hookimpl
def deepsight_models(): return [GlassModel]
@hookimpl
def deepsight_datasets(): return [Tiny]
@hookimpl
def deepsight_judges(): return [KeywordJudge]
@hookimpl
def deepsight_metrics(): return [Share]
@hookimpl
def deepsight_diagnostics(): return [Gap]
"""


class Shell:
    """Types commands in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        (folder / "mine.py").write_text(PLUGIN)

    def __call__(self, *words: object, status: int = 0) -> str:
        assert main([str(word) for word in words]) == status
        captured = self.capsys.readouterr()
        return captured.out if status == 0 else captured.err

    def evaluate(self, name: str, *words: object, status: int = 0) -> str:
        common = ("--plugin", self.folder / "mine.py", "--model", "glass", "--out", self.folder, "--name", name)
        return self("evaluate", "tiny", *common, "--quiet", *words, status=status)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_evaluate_prints_a_table_and_where_the_report_is(shell: Shell) -> None:
    out = shell.evaluate("a", "--set", "target.script={'question 1' = 'sorry'}", "--diagnose", "gap")
    assert "share ↓" in out and "0.125" in out and "gap: made up" in out
    assert f"report: {shell.folder / 'a'}" in out


def test_set_reaches_the_model_the_data_set_and_the_diagnostic(shell: Shell) -> None:
    sets = ("--set", "dataset.size=30", "--set", "diagnostic.layer=3", "--set", "target.strength=2.5")
    shell.evaluate("a", "--limit", 10, "--diagnose", "gap", *sets)
    config = json.loads((shell.folder / "a" / "manifest.json").read_text())["config"]
    assert config["evaluate"][0]["dataset"]["size"] == 30 and config["evaluate"][0]["dataset"]["limit"] == 10
    assert config["diagnose"][0]["diagnostic"]["layer"] == 3 and config["roles"]["target"]["strength"] == 2.5


def test_a_failed_diagnostic_makes_the_status_tell_but_the_table_is_printed(shell: Shell) -> None:
    shell.evaluate("a", "--diagnose", "gap", "--set", "diagnostic.layer=9", status=7)
    report = json.loads((shell.folder / "a" / "report.json").read_text())
    assert "layer 9 is out of range" in report["diagnoses"][0]["error"]
    assert report["counts"]["records"] == 8


def test_an_earlier_manifest_is_a_run_file(shell: Shell) -> None:
    shell.evaluate("a")
    shell("run", shell.folder / "a" / "manifest.json", "--name", "b", "--plugin", shell.folder / "mine.py", "--quiet")
    a, b = ((shell.folder / name / "records.jsonl").read_text() for name in "ab")
    assert a == b


def test_diagnose_works_on_a_finished_run_and_on_a_data_set(shell: Shell) -> None:
    shell.evaluate("a")
    assert "gap: made up" in shell("diagnose", "gap", "--run", shell.folder / "a", "--quiet")
    data = ("--data", "tiny", "--model", "glass", "--plugin", shell.folder / "mine.py", "--out", shell.folder)
    assert "gap: made up" in shell("diagnose", "gap", *data, "--quiet")


def test_report_shows_a_run_again(shell: Shell) -> None:
    first = shell.evaluate("a")
    assert shell("report", shell.folder / "a").split("\n\n")[:2] == first.split("\n\n")[:2]
    assert json.loads(shell("report", shell.folder / "a", "--json"))["counts"]["records"] == 8


def test_compare_pairs_two_runs_and_refuses_what_does_not_compare(shell: Shell) -> None:
    for name, script in (("a", "{}"), ("b", "{'question 1' = 'sorry', 'question 2' = 'sorry'}")):
        shell.evaluate(name, "--set", f"target.script={script}")
    row = shell("compare", shell.folder / "a", shell.folder / "b").splitlines()[2].split()
    assert row[:5] == ["tiny", "share", "0.000", "0.250", "0.250"]
    assert row[-4:] == ["flips", "–", "8", "0"]  # the samples are pairs: McNemar's test is not theirs
    shell.evaluate("c", "--set", "dataset.size=4")
    assert "different data" in shell("compare", shell.folder / "a", shell.folder / "c", status=5)
    shell.evaluate("d", "--set", "evaluate.judges=[{name='keyword', word='you'}]")
    assert "different judges" in shell("compare", shell.folder / "a", shell.folder / "d", status=5)


def test_show_tells_what_a_component_is_and_takes(shell: Shell) -> None:
    file = shell.folder / "mine.py"
    out = shell("show", "diagnostic", "gap", "--plugin", file)
    assert "Distance of two means." in out and "layer = 2" in out and "Where to look." in out
    schema = json.loads(shell("show", "diagnostic", "gap", "--plugin", file, "--schema"))
    assert schema["properties"]["layer"]["default"] == 2
    assert "no diagnostic named 'gpa'; did you mean 'gap'?" in shell(
        "show", "diagnostic", "gpa", "--plugin", file, status=2
    )


def test_doctor_finds_no_problem_in_a_sound_installation(shell: Shell) -> None:
    assert "no problems found" in shell("doctor")


def test_an_unknown_command_is_named(shell: Shell) -> None:
    assert "unknown command 'evalute'" in shell("evalute", status=2)
