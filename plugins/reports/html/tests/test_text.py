import math

import pytest
from deepsight_html.text import date, duration, flat, number, p_value, span

from deepsight_core.display import visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (0.0, "0.000"),
        (0.84251, "0.843"),
        (-2.5, "−2.500"),
        (31.415, "31.41"),
        (214.5, "214.5"),
        (12345.6, "12,346"),
        (0.00002, "2.0e−05"),
        (40, "40"),
        (12000, "12,000"),
    ],
)
def test_numbers_are_written_to_be_read(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_that_lacks_an_end_is_a_dash() -> None:
    assert span(0.1, None) == "–"
    assert span(0.1, 0.25) == "[0.100, 0.250]"


def test_a_tiny_p_is_a_bound_and_a_missing_one_a_dash() -> None:
    assert [p_value(p) for p in (0.0004, 0.0312, None)] == ["< 0.001", "0.031", "–"]


def test_dates_are_in_universal_time_and_what_is_no_date_stays() -> None:
    assert date("2025-11-23T23:27:41+02:00") == "23 November 2025, 21:27 UTC"
    assert date("yesterday") == "yesterday"


def test_durations_grow_into_minutes_and_hours() -> None:
    assert [duration(seconds) for seconds in (9.44, 125, 7300)] == ["9.4 s", "2 min 5 s", "2 h 1 min"]


def test_characters_that_would_disguise_a_text_are_spelt_out() -> None:
    assert visible("safe\u202eefas\u200f") == "safe⟨U+202E⟩efas⟨U+200F⟩"
    assert visible("a\tb\nc\r\n") == "a\tb\nc\r\n"
    assert visible("\ud83d\0\U000e0041") == "⟨U+D83D⟩⟨U+0000⟩⟨U+E0041⟩"


def test_joiners_that_scripts_and_emoji_need_are_left_alone() -> None:
    assert visible("می\u200cخواهم 👩\u200d🔬") == "می\u200cخواهم 👩\u200d🔬"


def test_nested_settings_are_listed_by_dotted_path() -> None:
    settings = {
        "seed": 0,
        "roles": {"target": {"guarded": True, "revision": None}},
        "evaluate": [{"limit": 2}],
        "x": [],
    }
    assert list(flat(settings)) == [
        ("seed", "0"),
        ("roles.target.guarded", "true"),
        ("roles.target.revision", "–"),
        ("evaluate.0.limit", "2"),
        ("x", "–"),
    ]
