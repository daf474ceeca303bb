"""Figures as data: a diagnostic says what is to be seen, a report draws it. Every number in them is finite."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from deepsight_core.messages import Value, Words


class _Figure(Value):
    name: str
    """Short, unique within its diagnosis; also the name of the file that it is written to."""
    caption: str = ""
    """What is seen, in a sentence or two: where it was measured, what to look for."""
    x: str = ""
    """What the horizontal axis shows, with its unit."""
    y: str = ""


class Dot(Value):
    """One sample in a plane."""

    id: str
    x: FiniteFloat
    y: FiniteFloat
    group: str = ""
    """The cohort that it belongs to; a report colours by it, and offers the verdict on the sample beside it."""


class Scatter(_Figure):
    """Samples in a plane, e.g. two directions of hidden space."""

    type: Literal["scatter"] = "scatter"
    dots: tuple[Dot, ...]


class Trajectory(_Figure):
    """One quantity along the tokens of a text."""

    type: Literal["trajectory"] = "trajectory"
    id: str = ""
    """The sample whose text it shows; empty for none, or for a mean over samples."""
    values: tuple[FiniteFloat | None, ...]
    """One a token; None where it is unknown."""
    words: tuple[Words, ...] = ()
    """The tokens, as text; empty when no single text is shown (a mean over texts)."""
    marks: tuple[int, ...] = ()
    """Places that stand out (peaks)."""
    low: tuple[FiniteFloat | None, ...] = ()
    """Band around the values, of the same length; empty for none."""
    high: tuple[FiniteFloat | None, ...] = ()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        for name, column in (("words", self.words), ("low", self.low), ("high", self.high)):
            if column and len(column) != len(self.values):
                raise ValueError(f"{name} has {len(column)} entries for {len(self.values)} values")
        if any(not 0 <= mark < len(self.values) for mark in self.marks):
            raise ValueError(f"a mark lies outside the {len(self.values)} values")
        return self


class Heatmap(_Figure):
    """A quantity over two things, e.g. layers and tokens, layers and heads."""

    type: Literal["heatmap"] = "heatmap"
    rows: tuple[str, ...]
    """Names of the rows, from the top."""
    columns: tuple[Words, ...]
    values: tuple[tuple[FiniteFloat | None, ...], ...]
    """By row, then column."""
    unit: str = ""
    centre: FiniteFloat | None = None
    """The value that means nothing (0 for a difference): colours diverge from it; None for a one-sided scale."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if len(self.values) != len(self.rows) or any(len(row) != len(self.columns) for row in self.values):
            raise ValueError(f"values must be {len(self.rows)} rows of {len(self.columns)} columns")
        return self


Figure = Annotated[Scatter | Trajectory | Heatmap, Field(discriminator="type")]
