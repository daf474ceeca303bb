"""The agreement panel: who says which layer, who agrees, and that disagreement is said."""

from __future__ import annotations

from typing import Any

from deepsight_core.agreement import Agreement, Opinion, agreement
from deepsight_core.protocol import Diagnosis, Finding, Manifest, Report, Site
from deepsight_core.report import markdown


def says(
    method: str, layer: float | None, low: float | None = None, high: float | None = None, **more: Any
) -> Diagnosis:
    finding = Finding(name="decision layer", value=layer, low=low, high=high, unit="layer", **more)
    return Diagnosis(diagnostic=method, findings=(Finding(name="other", value=99.0), finding))


def panel(*diagnoses: Diagnosis) -> Agreement:
    found = agreement(diagnoses)
    assert found is not None
    return found


def by_method(found: Agreement) -> dict[str, Opinion]:
    return {opinion.method: opinion for opinion in found.opinions}


def test_methods_agree_whose_interval_holds_the_median() -> None:
    found = panel(
        says("patching", 14, 13, 15, evidence="intervention"), says("lens", 21, 20, 22), says("probe", 13, 9, 14)
    )
    assert found.median == 14
    assert {name: one.agrees for name, one in by_method(found).items()} == {
        "probe": True,
        "patching": True,
        "lens": False,
    }
    assert [one.method for one in found.opinions] == ["probe", "patching", "lens"], "the earliest first"
    assert found.summary == (
        "2 of 3 methods agree with the median, layer 14, patching by intervention. "
        "The methods disagree: the median is outside the interval of lens (21 [20, 22])."
    )


def test_two_methods_far_apart_agree_on_nothing() -> None:
    found = panel(says("a", 4, 3, 5), says("b", 14, 13, 15))
    assert found.summary == (
        "0 of 2 methods agree with the median, layer 9. "
        "The methods disagree: the median is outside the interval of a (4 [3, 5]) and b (14 [13, 15])."
    )


def test_agreement_among_correlations_is_not_called_causal() -> None:
    found = panel(says("a", 4, 3, 5), says("b", 4, 3, 6))
    assert found.summary == "2 of 2 methods agree with the median, layer 4; none of them intervened."


def test_a_method_that_found_none_or_gave_no_interval_is_told_apart() -> None:
    found = panel(says("a", 4, 3, 5), says("b", 4), says("c", None))
    assert [one.agrees for one in found.opinions] == [True, None, None]
    assert found.summary.endswith("b gave no interval. c found none.")


def test_one_method_alone_agrees_with_nobody() -> None:
    found = panel(says("a", 4, 3, 5), says("c", None))
    assert found.median is None and found.opinions[0].agrees is None
    assert found.summary == "Only a found a layer, 4. c found none."
    assert panel(says("c", None)).summary == "No method found a layer."


def test_findings_of_one_method_are_told_apart_by_their_place_or_by_number() -> None:
    places = [Site(kind="resid_out", layer=4, position=position) for position in ("last", "end-of-instruction")]
    found = panel(*(says("probe", 4, site=place) for place in places), says("lens", 4), says("lens", 5))
    assert [one.method for one in found.opinions] == [
        "lens, unplaced (1)",
        "probe, resid_out, end-of-instruction",
        "probe, resid_out, last",
        "lens, unplaced (2)",
    ]


def test_a_value_that_is_no_number_counts_as_none_found() -> None:
    assert panel(says("a", float("nan")), says("b", 3, 2, 4)).opinions[-1].layer is None


def test_without_such_findings_there_is_no_panel() -> None:
    assert agreement([Diagnosis(diagnostic="a", findings=(Finding(name="other", value=1.0),))]) is None


def test_the_report_shows_the_panel() -> None:
    manifest = Manifest(
        name="r", created="", deepsight="0", seed=0, config={}, components={}, models={}, data=(), environment={}
    )
    diagnoses = (says("patching", 14, 13, 15, evidence="intervention"), says("lens", 21, 20, 22), says("heads", None))
    report = Report(manifest=manifest, finished="", seconds={}, counts={}, measurements=(), diagnoses=diagnoses)
    text = markdown(report)
    assert "## Decision layer: do the methods agree?" in text
    assert "| lens | 21 | 20 … 22 | correlational | **no** |" in text
    assert "| heads | none found |  | correlational |  |" in text
    assert "do the methods agree" not in markdown(report.model_copy(update={"diagnoses": ()}))
