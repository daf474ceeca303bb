"""The judge of problems whose answer is a number: the last number of the answer against that of the solution."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import ClassVar

from deepsight_core import Judge, Judgement, Record

_NUMBER = re.compile(r"-?(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")
_MARKED = re.compile(r"####|\\boxed\s*\{")
"""What announces the final answer, in GSM8K's solutions and in LaTeX; what stands behind the last one counts."""


def final_number(text: str) -> Decimal | None:
    """The number that a worked solution arrives at; None when there is none.

    The first number after the last "####" or boxed result; without these, the last number of the text. Thousands may be
    set off by commas; currency signs and units are passed over. A dash that follows a digit is a minus sign between
    two numbers, not part of the second.
    """
    marks = list(_MARKED.finditer(text))
    found = _numbers(text[marks[-1].end() :]) if marks else []
    if found:
        return found[0]
    return (_numbers(text) or [None])[-1]


def _numbers(text: str) -> list[Decimal | None]:
    spaced = re.sub(r"(?<=[\d)])\s*[-−–]", " - ", text).replace("−", "-").replace("-$", "-")
    return [Decimal(match.group().replace(",", "")) for match in _NUMBER.finditer(spaced)]


class FinalNumber(Judge):
    """Correct when the number that the answer arrives at equals that of the reference solution, else wrong.

    What an answer arrives at is its last number, or the one after "####" or in a LaTeX box where it has these. An
    answer without a number is wrong; an empty one, and one to a problem whose solution has no number, is unparsed.
    """

    name: ClassVar[str] = "final-number"
    labels: ClassVar[tuple[str, ...]] = ("correct", "wrong")

    def judge(self, record: Record) -> Judgement:
        if not record.output.text.strip():
            return self.verdict(status="unparsed", reason="empty answer")
        target = record.sample.target
        expected = final_number(target) if isinstance(target, str) else None
        if expected is None:
            return self.verdict(status="unparsed", reason="the reference solution has no number")
        given = final_number(record.output.text)
        if given is None:
            return self.verdict("wrong", reason=f"no number; expected {expected}")
        return self.verdict("correct" if given == expected else "wrong", reason=f"{given}; expected {expected}")
