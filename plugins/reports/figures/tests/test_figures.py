import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from deepsight_figures import FigureFiles, deepsight_reporters
from deepsight_figures.files import drawings
from deepsight_figures.heatmap import draw_heatmap
from deepsight_figures.profile import draw_profile
from deepsight_figures.scatter import draw_scatter
from deepsight_figures.trajectory import draw_trajectory
from matplotlib.figure import Figure

from deepsight_core.errors import RunError
from deepsight_core.figures import Dot, Heatmap, Scatter, Trajectory
from deepsight_core.profiles import profiles
from deepsight_core.protocol import Diagnosis, Finding, Judgement, Manifest, Output, Record, Report, Sample, Site, user

Written = Callable[..., Path]

HOSTILE = "</svg><script>alert(1)</script> $\\frac{1} ../../etc/passwd \u202e\x07 -->"


def layers(name: str, values: list[float | None], position: str = "last", **fields: Any) -> list[Finding]:
    return [
        Finding(name=name, value=value, site=Site(kind="resid_out", layer=layer, position=position), **fields)
        for layer, value in enumerate(values)
    ]


def diagnosis(text: str = "") -> Diagnosis:
    """Every kind of figure, with `text` in every place that takes foreign words."""
    return Diagnosis(
        diagnostic="mi-peaks" + text,
        findings=tuple(layers("coupling" + text, [0.1, 0.2, None, 0.4], low=0.0, high=0.5, null_high=0.1)),
        figures=(
            Scatter(
                name="plane" + text,
                x="harm" + text,
                caption=text,
                dots=(Dot(id="a", x=0, y=1, group="harmful" + text), Dot(id="b", x=1, y=0, group="harmless")),
            ),
            Trajectory(
                name="steps" + text, values=(0.1, None, 0.9), words=("a", " b", " c" + text), marks=(2,), y=text
            ),
            Heatmap(
                name="map" + text,
                rows=("layer 0", "layer 1" + text),
                columns=("x", text),
                values=((0, 1), (None, 2)),
                unit=text,
            ),
        ),
    )


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(*diagnoses: Diagnosis, **options: Any) -> Path:
        manifest = Manifest(
            name="run", created="", deepsight="0", seed=0, config={}, components={}, models={}, data=(), environment={}
        )
        report = Report(manifest=manifest, finished="", seconds={}, counts={}, measurements=(), diagnoses=diagnoses)
        (tmp_path / "report.json").write_text(report.model_dump_json())
        record = Record(
            dataset="d",
            sample=Sample(id="a", messages=(user("?"),)),
            output=Output(text="No."),
            judgements=(Judgement(judge="j", label="refused"),),
        )
        (tmp_path / "records.jsonl").write_text(record.model_dump_json() + "\n")
        return FigureFiles(**options).write(tmp_path)

    return write


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


# --- Files ------------------------------------------------------------------------------------


def test_the_plugin_offers_the_reporter_under_its_name() -> None:
    assert [reporter.name for reporter in deepsight_reporters()] == ["figures"]


def test_each_profile_and_each_figure_becomes_a_file_in_the_order_of_the_report(written: Written) -> None:
    folder = written(diagnosis())
    assert folder.name == "figures"
    assert sorted(path.name for path in folder.glob("*.svg")) == [
        "01-mi-peaks-coupling-by-layer.svg",
        "02-mi-peaks-plane.svg",
        "03-mi-peaks-steps.svg",
        "04-mi-peaks-map.svg",
    ]
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(path.stem for path in folder.glob("*.svg"))


def test_only_the_formats_that_are_asked_for_are_written(written: Written) -> None:
    assert {path.suffix for path in written(diagnosis(), formats=["pdf"]).iterdir()} == {".pdf"}


def test_a_second_report_writes_the_same_bytes(written: Written) -> None:
    first = {path.name: path.read_bytes() for path in written(diagnosis(), formats=["svg", "png", "pdf"]).iterdir()}
    second = {path.name: path.read_bytes() for path in written(diagnosis(), formats=["svg", "png", "pdf"]).iterdir()}
    assert len(first) == 12
    assert first == second


def test_a_run_without_diagnoses_writes_nothing_and_says_so(
    written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert written() == tmp_path
    assert "no figures are written" in caplog.text
    assert not (tmp_path / "figures").exists()


def test_what_an_earlier_report_drew_is_replaced_and_nothing_else(written: Written) -> None:
    folder = written(diagnosis())
    (folder / "mine.svg").write_text("kept")
    written(Diagnosis(diagnostic="x", figures=(Trajectory(name="one", values=(1.0, 2.0)),)), formats=["svg"])
    assert sorted(path.name for path in folder.iterdir()) == ["01-x-one.svg", "mine.svg"]


def test_a_run_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no report"):
        FigureFiles().write(tmp_path)


def test_matplotlib_is_left_as_it_was(written: Written) -> None:
    before = dict(matplotlib.rcParams)
    written(diagnosis())
    assert dict(matplotlib.rcParams) == before


def test_hostile_names_and_tokens_are_neither_markup_nor_formulas_nor_paths(written: Written) -> None:
    folder = written(diagnosis(HOSTILE))
    assert len(list(folder.iterdir())) == 8
    for path in folder.glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "script" not in tags
        assert "\u202e" not in path.read_text()


def test_records_are_not_read_where_no_plane_needs_them() -> None:
    def unread() -> Any:
        raise AssertionError("read")
        yield

    made = Diagnosis(diagnostic="x", figures=(Trajectory(name="one", values=(1.0,)),))
    assert [one.stem for one in drawings([made], unread())] == ["01-x-one"]


# --- Layer profiles ---------------------------------------------------------------------------


def test_a_profile_has_the_line_of_its_values_with_gaps() -> None:
    (profile,) = profiles(layers("auroc", [0.5, None, 0.9]))
    line = draw_profile(profile).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(line.get_ydata(), [0.5, np.nan, 0.9])


def test_a_profile_shows_its_interval_its_null_band_and_says_what_they_are() -> None:
    (profile,) = profiles(layers("auroc", [0.5, 0.7], low=0.4, high=0.9, null_low=0.45, null_high=0.55))
    figure = draw_profile(profile)
    bands = [path for band in figure.axes[0].collections for path in band.get_paths()]
    assert sorted(round(float(np.ptp(path.vertices[:, 1])), 6) for path in bands) == [0.1, 0.5]
    assert "95 % interval" in texts(figure) and "nothing to find" in texts(figure)


def test_a_profile_without_bands_draws_none_and_speaks_of_none() -> None:
    (profile,) = profiles(layers("auroc", [0.5, 0.7]))
    figure = draw_profile(profile)
    assert list(figure.axes[0].collections) == []
    assert "95 %" not in texts(figure)


def test_an_interval_between_two_gaps_becomes_a_bar() -> None:
    findings = layers("auroc", [0.5, None, 0.6, None])
    findings[2] = findings[2].model_copy(update={"low": 0.25, "high": 0.75})
    (profile,) = profiles(findings)
    (segment,) = draw_profile(profile).axes[0].collections[-1].get_segments()
    np.testing.assert_array_equal(segment, [[2, 0.25], [2, 0.75]])


def test_each_place_has_a_panel_and_a_control_its_level_line() -> None:
    control = Finding(name="auroc of length", value=0.55, evidence="control")
    (profile,) = profiles([*layers("auroc", [0.5, 0.7]), *layers("auroc", [0.5, 0.6], "end"), control])
    axes = draw_profile(profile).axes
    assert [one.get_title(loc="left") for one in axes] == ["resid_out, last", "resid_out, end"]
    for one in axes:
        assert any(list(line.get_ydata()) == [0.55, 0.55] for line in one.lines)


# --- Planes, trajectories, heat maps ----------------------------------------------------------


def test_a_plane_has_colours_for_cohorts_and_shapes_for_verdicts() -> None:
    dots = (Dot(id="a", x=0, y=1, group="harmful"), Dot(id="b", x=1, y=2, group="harmful"), Dot(id="c", x=2, y=3))
    axes = draw_scatter(Scatter(name="p", dots=dots), {"a": "refused", "b": "complied"}).axes[0]
    drawn = {tuple(line.get_xydata()[0]): (line.get_color(), line.get_marker()) for line in axes.lines}
    assert drawn == {(0, 1): ("#0072b2", "^"), (1, 2): ("#0072b2", "o"), (2, 3): ("#d55e00", "x")}
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["harmful", "complied", "refused", "unscored"]


def test_more_cohorts_than_colours_share_the_last_one_and_are_counted() -> None:
    dots = tuple(Dot(id=str(place), x=place, y=0, group=f"group {place}") for place in range(9))
    assert "4 others" in texts(draw_scatter(Scatter(name="p", dots=dots), {}))


def test_a_trajectory_has_gaps_a_band_and_named_peaks() -> None:
    figure = draw_trajectory(
        Trajectory(
            name="t",
            values=(0.0, None, 1.0),
            low=(-0.5, None, 0.5),
            high=(0.5, None, 1.5),
            words=("a", "b", " Wait"),
            marks=(2,),
        )
    )
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.0, np.nan, 1.0])
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[2.0, 1.0]])
    assert len(axes.collections) == 1
    assert "Wait" in texts(figure)


def test_a_map_is_even_around_its_centre_and_hatched_where_nothing_is_known() -> None:
    made = Heatmap(name="m", rows=("a",), columns=("x", "y", "z"), values=((-1.0, None, 0.25),), centre=0.0)
    figure = draw_heatmap(made)
    image = figure.axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax, image.get_cmap().name) == (-1.0, 1.0, "PuOr_r")
    assert image.get_array().mask.tolist() == [[False, True, False]]
    assert "Hatched: no value." in texts(figure)


def test_a_one_sided_map_goes_from_its_lowest_to_its_highest_value() -> None:
    made = Heatmap(name="m", rows=("a", "b"), columns=("x",), values=((2.0,), (5.0,)))
    image = draw_heatmap(made).axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax, image.get_cmap().name) == (2.0, 5.0, "cividis")


def test_labels_of_a_large_map_are_thinned() -> None:
    names = tuple(map(str, range(200)))
    made = Heatmap(name="m", rows=("a",), columns=names, values=(tuple(map(float, range(200))),))
    labels = [text.get_text() for text in draw_heatmap(made).axes[0].get_xticklabels()]
    assert labels == [str(place) for place in range(0, 200, 10)]


@pytest.mark.parametrize(
    "figure",
    [
        Scatter(name="p", dots=()),
        Trajectory(name="t", values=()),
        Trajectory(name="t", values=(None,), words=("a",), marks=(0,)),
        Heatmap(name="m", rows=("a",), columns=("b",), values=((None,),), centre=0.0),
        Heatmap(name="m", rows=(), columns=(), values=()),
    ],
)
def test_a_figure_of_nothing_is_still_written(written: Written, figure: Any) -> None:
    folder = written(Diagnosis(diagnostic="x", figures=(figure,)))
    assert len(list(folder.iterdir())) == 2
