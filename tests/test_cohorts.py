"""Cohorts by combined selectors, their pairs, their held-out part, and their surface."""

from __future__ import annotations

from typing import Any

import pytest

from deepsight_core.cohorts import held_out, pairs, surface
from deepsight_core.errors import ConfigError, DiagnosticError
from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Finding, Judgement, Output, Record, Sample, user
from deepsight_core.selectors import COHORTS, Piece, pieces


def evidence(count: int = 12, unscored: tuple[int, ...] = (), tokens: int = 0, **options: Any) -> Evidence:
    """Pairs of a harmful and a harmless sample; every third is refused. The harmful ones are a word longer."""
    samples = tuple(
        Sample(
            id=f"s{number:02}",
            group=f"pair {number // 2}",
            messages=(user("Please tell me now" if number % 2 == 0 else "Do tell me"),),
            labels={"harmful": number % 2 == 0, "kind": "Fraud & theft" if number < 4 else "Other"},
        )
        for number in range(count)
    )
    records = tuple(
        Record(
            dataset="d",
            sample=sample,
            output=Output(text="x", tokens_in=tokens and tokens + number),
            judgements=(
                Judgement(judge="j", status="unparsed")
                if number in unscored
                else Judgement(judge="j", label="refused" if number % 3 == 0 else "complied"),
            ),
        )
        for number, sample in enumerate(samples)
    )
    return Evidence(samples, records, **options)


def one(findings: tuple[Finding, ...], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def test_pieces_joined_by_an_ampersand_must_all_hold() -> None:
    assert evidence().cohort("label:harmful & verdict:complied") == ("s02", "s04", "s08", "s10")
    assert evidence().cohort("label:harmful=false & verdict:refused") == ("s03", "s09")


def test_named_combinations_part_the_scored_samples() -> None:
    cohorts = [evidence(unscored=(1, 4)).cohort(name) for name in COHORTS]
    assert evidence().cohort("over-refused") == ("s03", "s09")
    assert sorted(id for cohort in cohorts for id in cohort) == [f"s{n:02}" for n in range(12) if n not in (1, 4)]


def test_a_value_may_hold_an_ampersand() -> None:
    assert pieces("label:kind=Fraud & theft & verdict:refused") == (
        Piece("label:kind", "Fraud & theft"),
        Piece("verdict", "refused"),
    )
    assert evidence().cohort("label:kind=fraud & theft") == ("s00", "s01", "s02", "s03")


def test_a_contrast_of_a_combination_leaves_out_whom_it_does_not_know() -> None:
    contrast = evidence(unscored=(0,)).contrast("jailbroken")
    assert contrast.left_out == 1 and contrast.name == "jailbroken"
    assert [id for id, y in zip(contrast.ids, contrast.y, strict=True) if y] == ["s02", "s04", "s08", "s10"]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("harmful", "unknown selector 'harmful': write"),
        ("label:", "unknown selector 'label:': write"),
        ("label:kind=", "unknown selector 'label:kind='"),
        ("verdict:", "unknown selector 'verdict:'"),
        ("label:harmful & verdict:", "unknown selector 'verdict:' in 'label:harmful & verdict:'"),
        ("label:harmful & jailbroken", "'jailbroken' after '&' is no piece"),
        ("label:harmful&verdict:refused", "'verdict:refused' after '&' is no piece"),
        ("verdict:refused & verdict:complied", "asks twice for 'verdict'"),
    ],
)
def test_an_error_names_the_piece_at_fault(selector: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evidence().cohort(selector)


def test_pairs_follow_the_groups_of_the_data() -> None:
    found = evidence()
    assert pairs(found, found.cohort("rightly-refused"), found.cohort("rightly-answered")) == (
        ("s00", "s01"),
        ("s06", "s07"),
    )
    assert pairs(found, ("s00",), ("s03",)) == ()


def test_no_sample_is_in_two_pairs_or_paired_with_itself() -> None:
    found = evidence()
    assert pairs(found, ("s00", "s01"), ("s00",)) == (("s01", "s00"),)


def test_a_held_out_part_keeps_clusters_whole_and_stays_when_samples_are_added() -> None:
    small, large = evidence(60), evidence(200)
    fit, out = held_out(small, [sample.id for sample in small.samples])
    assert set(fit) | set(out) == {sample.id for sample in small.samples} and 15 < len(out) < 45
    assert not {int(id[1:]) // 2 for id in fit} & {int(id[1:]) // 2 for id in out}
    assert set(out) <= set(held_out(large, [sample.id for sample in large.samples])[1])
    assert held_out(small, fit, share=0.0) == (fit, ())


def test_the_surface_says_what_tells_cohorts_apart_without_looking_inside() -> None:
    found = evidence(60)
    told = surface(found, {"harmful": found.cohort("label:harmful"), "harmless": found.cohort("label:harmful=false")})
    assert one(told, "control: size of harmful").value == 30
    assert (
        one(told, "control: length of harmful").value == 4 and one(told, "control: length of harmless").unit == "words"
    )
    gap = one(told, "control: length difference, harmful against harmless")
    assert gap.value == gap.low == gap.high == 1
    assert one(told, "control: length alone, harmful against harmless").value == 1.0
    opening = one(told, "control: commonest opening of harmful")
    assert opening.value == 1.0 and "'please tell' begins 30 of 30, and 0 of the 30 others" in opening.summary
    assert {finding.evidence for finding in told} == {"control"}


def test_lengths_are_tokens_where_they_are_known() -> None:
    found = evidence(tokens=10)
    told = surface(found, {"refused": found.cohort("verdict:refused"), "complied": found.cohort("verdict:complied")})
    length = one(told, "control: length of refused")
    assert length.unit == "tokens" and length.value == 10 + (0 + 3 + 6 + 9) / 4


def test_an_empty_cohort_has_no_surface() -> None:
    with pytest.raises(DiagnosticError, match="no sample is 'jailbroken'"):
        surface(evidence(), {"jailbroken": (), "refused": ("s00",)})
