"""Many runs side by side: what is shared, what does not compare, who is on the frontier."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deepsight_core.aspects import aspect
from deepsight_core.cli import main
from deepsight_core.discovery import Catalogue
from deepsight_core.errors import RunMismatch
from deepsight_core.frontier import svg
from deepsight_core.hub import Hub
from deepsight_core.leaderboard import Leaderboard, leaderboard, table
from deepsight_core.protocol import Manifest, Measurement, Report
from deepsight_core.records import RunDirectory, write_json

BETTER = {"harmful refused": "higher", "harmless refused": "lower", "correct": "higher"}


def made(folder: Path, name: str, digest: str = "d", dataset: str = "tiny", **values: Any) -> RunDirectory:
    """A run with one value a measure, e.g. `safe=0.9, over=0.1`."""
    names = {"safe": "harmful refused", "over": "harmless refused", "right": "correct"}
    measured = [
        Measurement(
            dataset=dataset, metric=names[short], value=value, low=0.0, high=1.0, count=10, unscored=1,
            better=BETTER[names[short]],  # type: ignore[arg-type]  # a direction, from the table above
        )
        for short, value in values.items()
    ]  # fmt: skip
    manifest = Manifest(
        name=name, created="2026-01-01T00:00:00+00:00", deepsight="0.1.0", seed=0,
        config={"evaluate": [{"dataset": {"name": dataset}, "judges": [], "metrics": []}]},
        components={}, models={"target": {"model": "glass", "options": {}, "digest": f"{name}-digest"}},
        data=({"dataset": dataset, "total": 40, "used": 20, "digest": digest},), environment={},
    )  # fmt: skip
    report = Report(manifest=manifest, finished="", seconds={}, counts={}, measurements=tuple(measured))
    write_json(folder / name / "manifest.json", manifest)
    write_json(folder / name / "report.json", report)
    return RunDirectory.existing(folder / name)


def board(*runs: RunDirectory) -> Leaderboard:
    return leaderboard(runs, Hub(Catalogue()))


def test_a_run_that_is_beaten_in_one_measure_and_equal_in_the_others_is_off_the_frontier(tmp_path: Path) -> None:
    found = board(
        made(tmp_path, "safe", safe=0.9, over=0.4),
        made(tmp_path, "lax", safe=0.1, over=0.0),
        made(tmp_path, "beaten", safe=0.9, over=0.5),
    )
    assert [row.frontier for row in found.rows] == [True, True, False]


def test_equal_runs_share_the_frontier(tmp_path: Path) -> None:
    found = board(made(tmp_path, "a", safe=0.9, over=0.4), made(tmp_path, "b", safe=0.9, over=0.4))
    assert [row.frontier for row in found.rows] == [True, True]


def test_a_run_without_a_value_is_neither_on_nor_off_the_frontier(tmp_path: Path) -> None:
    found = board(made(tmp_path, "a", safe=None, over=0.4), made(tmp_path, "b", safe=0.1, over=0.9))
    assert [row.frontier for row in found.rows] == [None, True]
    assert "unknown" in table(found)


def test_only_measures_of_safety_and_caution_that_all_runs_share_are_columns(tmp_path: Path) -> None:
    found = board(made(tmp_path, "a", safe=0.9, over=0.4, right=0.5), made(tmp_path, "b", safe=0.8, right=0.5))
    assert [column.metric for column in found.columns] == ["harmful refused"]


def test_a_row_says_model_digest_samples_and_unscored(tmp_path: Path) -> None:
    cells = table(board(made(tmp_path, "a", safe=0.9, over=0.4))).splitlines()[2].split()
    assert cells[:3] == ["a", "glass", "a-digest"] and cells[-3:] == ["20", "2", "*"]


def test_runs_on_other_samples_are_refused_by_name(tmp_path: Path) -> None:
    runs = made(tmp_path, "a", safe=0.9), made(tmp_path, "b", digest="other", safe=0.9)
    with pytest.raises(RunMismatch, match=r"a and .*b: dataset 'tiny': the runs used different data"):
        board(*runs)


def test_runs_without_a_data_set_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunMismatch, match="no data set in common"):
        board(made(tmp_path, "a", safe=0.9), made(tmp_path, "b", dataset="other", safe=0.9))


def test_runs_without_a_measure_of_safety_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunMismatch, match="refusal-rate"):
        board(made(tmp_path, "a", right=0.9), made(tmp_path, "b", right=0.8))


def test_the_drawing_has_a_dot_a_run_filled_on_the_frontier_and_escapes_names(tmp_path: Path) -> None:
    drawn = svg(board(made(tmp_path, "a<b>", safe=0.9, over=0.4), made(tmp_path, "beaten", safe=0.8, over=0.5)))
    circles: list[dict[str, str | None]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag != "b"
            if tag == "circle":
                circles.append(dict(attrs))

    Reader().feed(drawn)
    assert [circle["class"] for circle in circles] == ["run best", "run"]
    assert (circles[0]["cx"], circles[0]["cy"]) == ("286.0", "76.0")


def test_a_run_without_a_value_is_named_but_not_drawn(tmp_path: Path) -> None:
    drawn = svg(board(made(tmp_path, "a", safe=None, over=0.4)))
    assert "<circle" not in drawn and "1. a (glass" in drawn


def test_the_drawing_says_so_where_no_data_set_has_both_measures(tmp_path: Path) -> None:
    assert "No data set has both" in svg(board(made(tmp_path, "a", safe=0.9)))


def test_the_command_prints_the_table_and_writes_the_drawing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "a", safe=0.9, over=0.4)
    assert main(["leaderboard", str(tmp_path / "a"), "--svg", str(tmp_path / "f.svg")]) == 0
    assert "harmful refused ↑" in capsys.readouterr().out
    assert (tmp_path / "f.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("title", "better", "expected"),
    [
        ("harmful refused", "higher", "safety"),
        ("harmless refused", "lower", "over-refusal"),
        ("over-refusal rate", "lower", "over-refusal"),
        ("attack success", "lower", "safety"),
        ("correct", "higher", None),
        ("harmful refused", "neither", None),
    ],
)
def test_a_measure_is_about_safety_or_caution_by_its_title(title: str, better: Any, expected: str | None) -> None:
    assert aspect(Measurement(dataset="d", metric=title, value=0.5, count=1, better=better)) == expected
