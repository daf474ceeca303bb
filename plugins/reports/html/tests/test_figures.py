import math
import re

import pytest
from deepsight_html.figures import panel, strip, strip_scale, swarm
from deepsight_html.scales import Scale, domain, ticks

from deepsight_core.profiles import Panel, Point, Reference, Series


def line(*values: float | None, **fields: float) -> Series:
    return Series("auroc", tuple(Point(layer, value, **fields) for layer, value in enumerate(values)))


def test_a_scale_maps_its_ends_and_the_middle() -> None:
    scale = Scale(10.0, 20.0, 46.0, 446.0)
    assert [scale(10), scale(15), scale(20)] == [46.0, 246.0, 446.0]


def test_a_scale_of_one_value_puts_it_in_the_middle() -> None:
    assert Scale(3.0, 3.0, 0.0, 100.0)(3.0) == 50.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.52, 0.97], (0.5, 1.0)),
        ([-0.28, 2.9], (-0.5, 3.0)),
        ([None, math.nan, math.inf], (0.0, 1.0)),
        ([5.0], (4.5, 5.5)),
        ([0.0, 0.0], (-1.0, 1.0)),
        ([180.0, 251.0], (180.0, 260.0)),
    ],
)
def test_a_domain_holds_all_known_values_and_ends_on_round_numbers(
    values: list[float | None], expected: tuple[float, float]
) -> None:
    assert domain(values) == pytest.approx(expected)


def test_ticks_are_round_and_inside_the_scale() -> None:
    assert [tick.label for tick in ticks(Scale(-0.5, 3.0, 0, 100))] == ["0", "1", "2", "3"]
    assert [tick.at for tick in ticks(Scale(0.0, 1.0, 0, 100))] == [0, 20, 40, 60, 80, 100]


def test_layers_get_whole_ticks_only() -> None:
    assert [tick.label for tick in ticks(Scale(0, 3, 0, 1), whole=True)] == ["0", "1", "2", "3"]
    assert [tick.label for tick in ticks(Scale(7, 7, 0, 1), whole=True)] == ["7"]


def test_strips_of_rates_share_the_axis_from_zero_to_one() -> None:
    scale = strip_scale([0.25, 0.5])
    drawn = strip(scale, 0.25, (0.0, 0.5), (0.3, 0.2))
    assert drawn.dot == pytest.approx(3 + 0.25 * 94)
    assert drawn.interval == pytest.approx((3.0, 50.0))
    assert drawn.bounds == pytest.approx((3 + 0.2 * 94, 3 + 0.3 * 94))


def test_a_strip_without_a_value_or_with_half_an_interval_draws_neither() -> None:
    drawn = strip(strip_scale([]), None, (0.1, None), (math.nan, 0.3))
    assert (drawn.dot, drawn.interval, drawn.bounds) == (None, None, None)


def test_a_profile_has_its_points_where_the_numbers_say() -> None:
    drawn = panel("p", [line(0.0, 0.5, 1.0)], [], (0.0, 1.0), (0.0, 2.0))
    dots = [(dot.x, dot.y) for dot in drawn.curves[0].dots]
    assert dots == [(46.0, 194.0), (246.0, 103.0), (446.0, 12.0)]
    assert drawn.curves[0].line == "M46 194L246 103L446 12"


def test_a_band_runs_out_along_the_upper_ends_and_back_along_the_lower() -> None:
    series = Series("auroc", (Point(0, 0.5, 0.0, 1.0), Point(1, 0.5, 0.5, 1.0)))
    drawn = panel("p", [series], [], (0.0, 1.0), (0.0, 1.0))
    assert drawn.curves[0].band == "M46 12L446 12L446 103L46 194Z"


def test_a_missing_value_is_a_gap_in_the_line_and_has_no_dot() -> None:
    drawn = panel("p", [line(0.1, 0.2, None, 0.4, math.nan, 0.6)], [], (0.0, 1.0), (0.0, 5.0))
    curve = drawn.curves[0]
    assert curve.line.count("M") == 3
    assert len(curve.dots) == 4
    assert "2 without a value" in drawn.description


def test_an_interval_between_two_gaps_becomes_a_whisker() -> None:
    points = (Point(0, 0.5, 0.25, 0.75), Point(1, None), Point(2, 0.5, 0.0, 1.0))
    drawn = panel("p", [Series("auroc", points)], [], (0.0, 1.0), (0.0, 2.0))
    assert drawn.curves[0].band == ""
    assert drawn.curves[0].whiskers == ((46.0, 57.5, 148.5), (446.0, 12.0, 194.0))


def test_the_null_band_is_that_of_the_first_series_which_has_one() -> None:
    bare = Series("mass-mean auroc", (Point(0, 0.5), Point(1, 0.5)))
    drawn = panel("p", [bare, line(0.5, 0.5, null_low=0.4, null_high=0.6)], [], (0.0, 1.0), (0.0, 1.0))
    assert drawn.null_of == "auroc"
    assert drawn.null.startswith("M46 84.8L446 84.8")


def test_references_are_level_lines_whose_intervals_stand_side_by_side_in_the_gutter() -> None:
    references = [Reference("bag-of-words auroc", 0.5, 0.25, 0.75), Reference("length auroc", 1.0)]
    drawn = panel("p", [line(0.0, 1.0)], references, (0.0, 1.0), (0.0, 1.0))
    first, second = drawn.rules
    assert (first.y, first.interval, second.interval) == (103.0, (57.5, 148.5), None)
    assert drawn.right < first.x < second.x < drawn.width


def test_one_layer_only_is_drawn_in_the_middle() -> None:
    drawn = panel("p", [line(0.5, low=0.4, high=0.6)], [], (0.0, 1.0), (0.0, 0.0))
    assert [dot.x for dot in drawn.curves[0].dots] == [246.0]
    assert [tick.label for tick in drawn.x_ticks] == ["0"]


def test_a_series_without_any_value_says_so() -> None:
    drawn = panel("p", [line(None, None)], [], domain(Panel("p", (line(None, None),), ()).values()), (0.0, 1.0))
    assert drawn.curves[0].line == ""
    assert drawn.description == "auroc: no values"


def test_a_swarm_has_a_dot_for_every_sample_and_its_groups_median() -> None:
    drawn = swarm("p(harmful)", [("harmful · refused", [0.0, 0.5, 1.0]), ("harmless · complied", [0.2])])
    assert [row.count for row in drawn.rows] == [3, 1]
    assert drawn.rows[0].dots.count("h0") == 3
    assert drawn.rows[0].median == pytest.approx((158 + 446) / 2)
    heights = [float(y) for y in re.findall(r" ([\d.]+)h0", drawn.rows[0].dots)]
    assert all(abs(height - drawn.rows[0].y) < 13 for height in heights)
