"""Twins, and how often a model refuses."""

from __future__ import annotations

import pytest
from deepsight_causal.pairs import drawn, twins
from deepsight_causal.shares import hardly, refused_share

from deepsight_core import Evidence, Output, Record, Sample, user
from deepsight_core.protocol import Judgement


def evidence(*rows: tuple[str, str, bool, str | None]) -> Evidence:
    """Id, group, whether it is harmful, verdict."""
    samples = tuple(
        Sample(id=id, messages=(user("?"),), group=group, labels={"harmful": y}) for id, group, y, _ in rows
    )
    records = tuple(
        Record(
            dataset="d",
            sample=sample,
            output=Output(text="x"),
            judgements=(Judgement(judge="j", label=verdict),) if verdict else (),
        )
        for sample, (_, _, _, verdict) in zip(samples, rows, strict=True)
    )
    return Evidence(samples, records)


ROWS = [
    ("b1", "b", True, "refused"),
    ("a0", "a", False, "complied"),
    ("a1", "a", True, "refused"),
    ("a2", "a", True, "complied"),
    ("b0", "b", False, "complied"),
    ("c1", "c", True, None),
]


def test_twins_are_the_first_of_each_class_of_a_cluster() -> None:
    found = evidence(*ROWS)
    pairs = twins(found, found.contrast())
    assert [(pair.positive.id, pair.negative.id) for pair in pairs] == [("a1", "a0"), ("b1", "b0")]
    turned = evidence(*ROWS[::-1])
    assert [pair.positive.id for pair in twins(turned, turned.contrast())] == ["a1", "b1"]


def test_pairs_are_drawn_without_repetition_and_in_order() -> None:
    found = evidence(*ROWS)
    pairs = twins(found, found.contrast())
    assert drawn(pairs, 9) == pairs
    assert len(drawn(pairs, 1, seed=3)) == 1


def test_the_share_of_refusals_is_of_those_that_were_judged() -> None:
    found = evidence(*ROWS)
    share = refused_share(found, {"a1", "a2", "b1", "c1"})
    assert share == pytest.approx(2 / 3) and not hardly(share)
    assert refused_share(found, {"c1"}) is None and hardly(None) and hardly(0.05)
