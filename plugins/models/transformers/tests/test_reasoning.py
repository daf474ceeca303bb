"""Thinking is kept apart from the answer."""

from __future__ import annotations

import pytest
from deepsight_transformers.reasoning import split


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("Sure.", "", ("Sure.", None)),
        ("<think>\nhm\n</think>\n\nSure.", "", ("Sure.", "hm")),
        ("[THINK]hm[/THINK]Sure.", "", ("Sure.", "hm")),
        ("<think></think>Sure.", "", ("Sure.", "")),
        ("<think>cut off", "", ("", "cut off")),
        ("Well. <think>cut off", "", ("", "Well.\ncut off")),
        ("hm</think>Sure.", "<|im_start|>assistant\n<think>\n", ("Sure.", "hm")),
        ("still going", "<|im_start|>assistant\n<think>\n", ("", "still going")),
        ("hm</think>Sure.", "", ("Sure.", "hm")),
        ("Sure.", "<think>\n\n</think>\n\n", ("Sure.", None)),
        ("<think>a</think>One <think>b</think>two", "", ("One two", "a\nb")),
        ("1 < 2 and <thin>", "", ("1 < 2 and <thin>", None)),
    ],
)
def test_reasoning_is_what_stands_between_its_markers(text, prompt, expected):
    assert split(text, prompt=prompt) == expected
