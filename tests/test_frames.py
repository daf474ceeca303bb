"""Runs as pandas frames, and as a notebook shows them."""

from pathlib import Path
from typing import Any

import pytest

from deepsight_core import frames
from deepsight_core.config import configure
from deepsight_core.errors import ConfigError
from deepsight_core.hub import Hub
from deepsight_core.progress import Progress
from deepsight_core.protocol import Diagnosis, Finding, Judgement, Output, Record, Sample, Site, user
from deepsight_core.session import Run, execute

pytest.importorskip("pandas", reason="pandas comes with deepsight-core[frames]")


def record(id: str, label: str | None = "refused", epoch: int = 0, **labels: Any) -> Record:
    verdict = Judgement(judge="a-judge", label=label) if label else Judgement(judge="a-judge", status="unparsed")
    sample = Sample(id=id, messages=(user(f"ask {id}"),), group="g", labels=labels)
    return Record(dataset="d", sample=sample, epoch=epoch, output=Output(text="no"), judgements=(verdict,))


def diagnosis(name: str = "probe", mode: str = "", **table: dict[str, float | str | None]) -> Diagnosis:
    return Diagnosis(diagnostic=name, mode=mode, table=table)


def test_verdicts_are_joined_with_internal_coordinates_by_sample_id() -> None:
    frame = frames.samples(
        [record("x", harmful=True), record("y", "complied", harmful=False)],
        [diagnosis(x={"p(harmful)": 0.9}, y={"p(harmful)": 0.2})],
    )
    found = frame.query("`verdict.a-judge` == 'refused' and `probe.p(harmful)` > 0.5 and `label.harmful`")
    assert list(found["id"]) == ["x"]
    assert list(frame.columns)[:6] == ["id", "dataset", "epoch", "group", "label.harmful", "prompt"]


def test_what_nobody_said_is_missing() -> None:
    frame = frames.samples([record("x", None), record("y", kind="homonym")], [diagnosis(y={"layer": 3.0})])
    assert frame.loc[0, ["verdict.a-judge", "label.kind", "probe.layer"]].isna().all()


def test_every_epoch_carries_the_coordinates_of_its_sample() -> None:
    frame = frames.samples([record("x"), record("x", epoch=1)], [diagnosis(x={"layer": 3.0})])
    assert list(frame["probe.layer"]) == [3.0, 3.0]


def test_samples_that_only_a_diagnosis_knows_have_a_row() -> None:
    frame = frames.samples([record("x")], [diagnosis(z={"layer": 3.0})])
    assert list(frame["id"]) == ["x", "z"] and frame["dataset"].isna().tolist() == [False, True]


def test_diagnoses_of_one_diagnostic_are_told_apart_by_mode_then_by_number() -> None:
    made = [diagnosis("a"), diagnosis("b", "one"), diagnosis("b", "two"), diagnosis("c"), diagnosis("c")]
    assert frames.names(made) == ["a", "b one", "b two", "c 1", "c 2"]


def test_a_finding_has_its_site_in_columns() -> None:
    site = Site(kind="resid_out", layer=3, position="last")
    made = Diagnosis(
        diagnostic="probe", findings=(Finding(name="auroc", value=0.9, site=site), Finding(name="n", value=1))
    )
    frame = frames.findings([made])
    assert frame.loc[0, ["diagnostic", "name", "value", "site", "layer", "position"]].tolist() == [
        *("probe", "auroc", 0.9, "resid_out", 3, "last")
    ]
    assert frame.loc[1, ["site", "layer"]].isna().all()


def test_a_run_that_found_nothing_has_empty_frames_with_their_columns() -> None:
    assert list(frames.samples([]).columns) == ["id", "dataset", "epoch", "group", "prompt", "answer", "error"]
    assert "p" in frames.findings([]) and "metric" in frames.measurements([])


def test_without_pandas_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"deepsight-core\[frames\]"):
        frames.measurements([])


@pytest.fixture
def made(hub: Hub, out: Path) -> Run:
    table = {
        "name": "r",
        "out": str(out),
        "roles": {"target": {"model": "scripted", "script": {"question 0": "<b>sorry"}}},
        "evaluate": [{"dataset": {"name": "tiny", "size": 8}, "metrics": ["refused-share"]}],
        "reports": [],
    }
    return execute(configure(table), hub, Progress(quiet=True))


def test_a_run_offers_its_samples_measurements_and_findings(made: Run) -> None:
    assert len(made.samples) == 8 and made.samples["verdict.keyword"].notna().all()
    assert made.measurements.loc[0, "metric"] == "refused-share"
    assert made.findings.empty


def test_a_notebook_shows_the_table_or_the_report_where_there_is_one(made: Run) -> None:
    assert made._repr_html_().startswith("<pre>") and "refused-share" in made._repr_html_()
    (made.path / "report.html").write_text('<p class="x">it</p>')
    shown = made._repr_html_()
    assert shown.startswith("<iframe sandbox srcdoc=") and "&lt;p class=&quot;x&quot;&gt;" in shown
