"""XSTest: 250 safe prompts that look unsafe and 200 unsafe contrasts, with the official string-match judge."""

from __future__ import annotations

from deepsight_core import Dataset, Judge, hookimpl
from deepsight_xstest.dataset import XSTest
from deepsight_xstest.string_match import XSTestStringMatch

__all__ = ["XSTest", "XSTestStringMatch"]


@hookimpl
def deepsight_datasets() -> list[type[Dataset]]:
    return [XSTest]


@hookimpl
def deepsight_judges() -> list[type[Judge]]:
    return [XSTestStringMatch]
