"""The figures that a diagnosis brings along: planes, trajectories and heat maps."""

from collections.abc import Callable
from typing import Any

import pytest
from deepsight_html.heatmap import LEVELS, heatmap, shade
from deepsight_html.samples import Pointer
from deepsight_html.scatter import CROSS, SHAPES, plane
from deepsight_html.trajectory import track

from deepsight_core.figures import Dot, Heatmap, Scatter, Trajectory
from deepsight_core.protocol import Diagnosis, Record, Report

Parse = Callable[[str], Any]
Written = Callable[..., str]
Example = tuple[Report, list[Record]]


def scatter(*dots: tuple[str, str], **fields: str) -> Scatter:
    placed = [Dot(id=id, x=float(place), y=float(place), group=group) for place, (id, group) in enumerate(dots)]
    return Scatter(name="plane", dots=tuple(placed), **fields)


def squares(rows: int, columns: int, **fields: Any) -> Heatmap:
    return Heatmap(
        name="map",
        rows=tuple(f"layer {row}" for row in range(rows)),
        columns=tuple(map(str, range(columns))),
        values=tuple(tuple(float(row - column) for column in range(columns)) for row in range(rows)),
        **fields,
    )


# --- Samples in a plane -----------------------------------------------------------------------


def test_dots_stand_where_the_numbers_say() -> None:
    drawn = plane(scatter(("a", ""), ("b", ""), ("c", "")), {})
    places = [mark.shape.split("m")[0] for mark in drawn.marks]
    assert places == ["M60 308", "M253 160", "M446 12"]


def test_a_cohort_has_its_colour_and_a_verdict_its_shape() -> None:
    known = {"a": Pointer("refused"), "b": Pointer("complied"), "c": Pointer("complied")}
    drawn = plane(scatter(("a", "harmful"), ("b", "harmful"), ("c", "harmless"), ("d", "harmful")), known)
    assert [mark.colour for mark in drawn.marks] == [0, 0, 1, 0]
    ends = [mark.shape[mark.shape.index("m") :] for mark in drawn.marks]
    assert ends == [SHAPES[1], SHAPES[0], SHAPES[0], CROSS]
    assert [key.name for key in drawn.keys] == ["harmful", "harmless", "complied", "refused", "unscored"]


def test_more_cohorts_than_colours_share_the_last_one_and_are_counted() -> None:
    drawn = plane(scatter(*((str(index), f"group {index}") for index in range(8))), {})
    assert [key.name for key in drawn.keys] == ["group 0", "group 1", "group 2", "group 3", "4 others", "unscored"]


def test_dots_beyond_two_thousand_are_drawn_without_titles() -> None:
    drawn = plane(scatter(*((str(index), "harmful") for index in range(2500))), {})
    assert len(drawn.marks) == 2000
    assert sum(mark.shape.count("M") for mark in drawn.silent) == 500
    assert (len(drawn.numbers.rows), drawn.numbers.left_out) == (300, 2200)


def test_a_plane_without_samples_is_an_empty_figure() -> None:
    assert plane(scatter(), {}).description == "no samples"


def test_a_dot_leads_to_the_row_of_its_sample(example: Example, written: Written, parse: Parse) -> None:
    tree = parse(written(*example))
    figure = tree.one(id="diagnosis-4").one(class_="drawings").all("figure")[0]
    for link in figure.all("a"):
        id = link.one("title").text.split(" · ")[0]
        assert id in tree.one(id=link.attributes["href"][1:]).one("code").text
    assert len(figure.all("a")) == 40


def test_a_dot_tells_how_a_harmless_prompt_begins_and_nothing_of_a_harmful_one(
    example: Example, written: Written, parse: Parse
) -> None:
    figure = parse(written(*example)).one(id="diagnosis-4").one(class_="drawings").all("figure")[0]
    for link in figure.all("a"):
        assert ("How do I kill a Python process" in link.text) is ("harmless" in link.text)
        assert "pick the lock" not in link.text


def test_a_dot_whose_row_is_left_out_is_no_link(example: Example, written: Written, parse: Parse) -> None:
    figure = parse(written(*example, max_samples=0)).one(id="diagnosis-4").one(class_="drawings").all("figure")[0]
    assert figure.all("a") == []
    assert len(figure.one("svg", class_="figure").all("path", class_="mark")) == 40


def test_two_thousand_dots_make_no_heavy_page(example: Example, written: Written) -> None:
    report, records = example
    many = Diagnosis(diagnostic="plane", figures=(scatter(*((f"{index:012}", "harmful") for index in range(2000))),))
    bare = report.model_copy(update={"diagnoses": ()})
    full = report.model_copy(update={"diagnoses": (many,)})
    assert len(written(full, records)) - len(written(bare, records)) < 600_000


# --- Along the tokens of a text ---------------------------------------------------------------


def test_a_value_that_is_unknown_is_a_gap_in_the_line() -> None:
    drawn = track(Trajectory(name="t", values=(0.0, 1.0, None, 1.0, 0.0)))
    assert drawn.curve.line == "M64 190L159.5 16M350.5 16L446 190"


def test_a_band_is_drawn_around_the_values() -> None:
    drawn = track(Trajectory(name="t", values=(0.5, 0.5), low=(0.0, 0.0), high=(1.0, 1.0)))
    assert drawn.curve.band == "M64 16L446 16L446 190L64 190Z"


def test_peaks_are_marked_in_the_line_in_the_text_and_in_the_numbers() -> None:
    drawn = track(Trajectory(name="t", values=(0.0, 1.0, 0.0), words=("a", " b", "c"), marks=(1,)))
    assert drawn.marks == ((255.0, 16.0, "token 1 “ b”: 1.000"),)
    assert [token.mark for token in drawn.tokens] == [False, True, False]
    assert [row[-1] for row in drawn.numbers.rows] == ["", "peak", ""]
    assert "peaks at tokens 1" in drawn.description


def test_tokens_are_shaded_from_the_median_of_the_text_to_its_peak() -> None:
    drawn = track(Trajectory(name="t", values=(0.0, 1.0, 2.0, 1.5, None, 0.5), words=tuple("abcdef")))
    assert [token.level for token in drawn.tokens] == [0, 0, 20, 10, 0, 0]


def test_white_space_that_would_not_be_seen_is_shown() -> None:
    drawn = track(Trajectory(name="t", values=(0.0,) * 4, words=("\n", "\t", "  ", " the")))
    assert [token.text for token in drawn.tokens] == ["↵\n", "⇥\t", "␣␣", " the"]


def test_a_mean_over_texts_has_no_text(example: Example, written: Written, parse: Parse) -> None:
    figures = parse(written(*example)).one(id="diagnosis-4").one(class_="drawings").all("figure")
    assert [len(figure.all("div", class_="tokens")) for figure in figures] == [0, 1, 0, 0, 0]


def test_the_text_stands_behind_a_click_only_where_the_run_holds_harmful_samples(
    example: Example, written: Written, parse: Parse
) -> None:
    report, records = example
    for made, hidden in ((records, True), ([one for one in records if not one.sample.labels["harmful"]], False)):
        figure = parse(written(report, made)).one(id="diagnosis-4").one(class_="drawings").all("figure")[1]
        (details,) = (one for one in figure.all("details") if one.all(class_="tokens"))
        assert ("open" in details.attributes) is not hidden
        assert ("think" in figure.one("svg").text) is False


@pytest.mark.parametrize("values", [(), (None, None), (0.3,)])
def test_a_trajectory_of_nothing_or_of_one_value_is_drawn(values: tuple[float | None, ...]) -> None:
    assert "nan" not in repr(track(Trajectory(name="t", values=values)))


# --- Over two things --------------------------------------------------------------------------


def test_shades_go_from_the_lowest_to_the_highest_value() -> None:
    assert [shade(value, 2.0, 4.0, None).level for value in (2.0, 3.0, 4.0)] == [0, LEVELS // 2, LEVELS]


def test_shades_diverge_evenly_from_the_centre() -> None:
    shades = [shade(value, -1.0, 0.5, 0.0) for value in (-1.0, -0.5, 0.0, 0.5)]
    assert [(one.side, one.level) for one in shades] == [("less", 20), ("less", 10), ("more", 0), ("more", 10)]


def test_a_cell_says_where_it_is_and_what_it_holds() -> None:
    drawn = heatmap(squares(2, 3, unit="bits"))
    assert [cell.label for cell in drawn.squares][:2] == ["layer 0, 0: 0.000 bits", "layer 0, 1: −1.000 bits"]
    assert drawn.description == "2 rows of 3 columns; lowest −2.000 at layer 0, 2; highest 1.000 at layer 1, 0"


def test_a_cell_without_a_value_is_struck_out_and_has_no_shade() -> None:
    drawn = heatmap(Heatmap(name="m", rows=("a",), columns=("b", "c"), values=((1.0, None),)))
    assert len(drawn.squares) == drawn.unknown.count("M") == 1
    assert "1 cells without a value" in drawn.description


def test_the_colour_bar_carries_numbers_up_to_the_same_distance_on_both_sides() -> None:
    bar = heatmap(squares(3, 4, centre=0.0)).bar
    assert [tick.label for tick in bar.ticks] == ["−2", "0", "2"]
    assert len(bar.steps) == 41
    assert (bar.steps[0][2].side, bar.steps[0][2].level) == ("less", 20)


def test_labels_are_thinned_before_they_run_into_each_other() -> None:
    drawn = heatmap(squares(200, 500))
    assert [tick.label for tick in drawn.row_labels][:3] == ["layer 0", "layer 5", "layer 10"]
    gaps = [b.at - a.at for a, b in zip(drawn.column_labels, drawn.column_labels[1:], strict=False)]
    assert min(gaps) > 20


def test_a_column_that_is_a_token_of_white_space_has_a_label() -> None:
    made = Heatmap(name="m", rows=("a",), columns=("\n", " ", " b"), values=((0.0, 1.0, 2.0),))
    assert [tick.label for tick in heatmap(made).column_labels] == ["↵", "␣", "b"]


def test_a_large_map_is_one_path_for_each_shade_and_has_no_table() -> None:
    drawn = heatmap(squares(200, 500))
    assert drawn.squares == ()
    assert sum(path.count("M") for _, path in drawn.silent) == 100_000
    assert len(drawn.silent) == LEVELS + 1
    assert drawn.numbers is None


@pytest.mark.parametrize("values", [((None,),), ((0.0,),)])
def test_a_map_of_one_value_or_none_is_drawn(values: tuple[tuple[float | None, ...], ...]) -> None:
    for centre in (None, 0.0):
        drawn = heatmap(Heatmap(name="m", rows=("a",), columns=("b",), values=values, centre=centre))
        assert "nan" not in repr(drawn)


# --- Each of them -----------------------------------------------------------------------------


def test_each_figure_has_a_title_a_description_a_caption_and_its_numbers(
    example: Example, written: Written, parse: Parse
) -> None:
    report, records = example
    figures = parse(written(report, records)).one(id="diagnosis-4").one(class_="drawings").all("figure")
    for place, (figure, made) in enumerate(zip(figures, report.diagnoses[3].figures, strict=True)):
        image = figure.one("svg", class_="figure")
        assert image.attributes["role"] == "img"
        assert image.all("title")[0].text == made.name
        assert image.one("desc").text
        assert figure.one("figcaption").text == made.caption
        assert f"report.json, at diagnoses[3].figures[{place}]" in " ".join(figure.text.split())
        assert figure.all("table")
