"""The first page: what is said to each question, where it comes from, and what is not said."""

from collections.abc import Callable
from typing import Any

from deepsight_html.answers import MOST, answers
from deepsight_html.trajectory import track

from deepsight_core.figures import Trajectory
from deepsight_core.protocol import Diagnosis, Finding, Measurement, Record, Report

Parse = Callable[[str], Any]
Written = Callable[..., str]
Example = tuple[Report, list[Record]]


def diagnosed(example: Example, *made: Diagnosis) -> Report:
    return example[0].model_copy(update={"diagnoses": made})


def change(name: str, p: float | None = 0.001, **fields: Any) -> Finding:
    return Finding(name=name, value=-0.6, low=-0.8, high=-0.4, p=p, headline=True, evidence="intervention", **fields)


def cause(name: str, share: float, *samples: str) -> Finding:
    return Finding(name=name, value=share, low=0.1, high=0.9, unit="share", headline=True, samples=samples)


def layer(value: float | None) -> Finding:
    ends = (None, None) if value is None else (value - 1, value + 1)
    return Finding(name="decision layer", value=value, low=ends[0], high=ends[1], unit="layer")


def test_safety_and_caution_are_told_apart_by_the_measure_with_interval_and_better_side(example: Example) -> None:
    safe, cautious, _, _ = answers(example[0])
    assert [source.name for source in safe.sources] == ["xstest", "contrast-pairs"]
    assert [fact.text for source in safe.sources for fact in source.facts] == ["refusal rate"] * 2
    fact = cautious.sources[0].facts[0]
    assert (fact.text, fact.value, fact.interval) == ("over-refusal rate", "0.263", "[0.118, 0.488]")
    assert fact.remark == "lower is better, 19 scored, 1 unscored, judge string-match"


def test_a_measure_of_neither_side_answers_no_question(example: Example) -> None:
    right = Measurement(dataset="sums", metric="correct", value=0.5, count=4, better="higher")
    report = example[0].model_copy(update={"measurements": (right,)})
    assert [answer.sources for answer in answers(report)[:2]] == [(), ()]


def test_a_measure_that_scored_nothing_gives_no_number(example: Example) -> None:
    rate = Measurement(dataset="d", metric="harmful refused", value=None, count=0, better="higher")
    report = example[0].model_copy(update={"measurements": (rate,)})
    assert answers(report)[0].sources[0].facts[0].value == "nothing scored"


def test_a_question_that_nothing_answers_is_not_measured(example: Example, written: Written, parse: Parse) -> None:
    report = diagnosed(
        example, Diagnosis(diagnostic="map", findings=(Finding(name="auroc", value=0.9, headline=True),))
    )
    tree = parse(written(report, example[1]))
    assert [missing.text.split(":")[0] for missing in tree.all(class_="missing")] == ["Not measured"] * 2


def test_causes_are_shares_of_listed_samples_the_largest_first(example: Example) -> None:
    made = Diagnosis(diagnostic="causes", summary="Mostly a.", findings=(cause("b", 0.2), cause("a", 0.8, "x", "y")))
    why = answers(diagnosed(example, made))[2]
    assert [(source.name, source.link, source.summary) for source in why.sources] == [
        ("causes", "diagnosis-1", "Mostly a.")
    ]
    assert [fact.text for fact in why.sources[0].facts] == ["a", "b"]


def test_a_share_that_lists_no_samples_is_no_cause(example: Example) -> None:
    made = Diagnosis(diagnostic="peaks", findings=(cause("peak share", 0.2),))
    assert answers(diagnosed(example, made))[2].sources == ()


def test_interventions_that_chance_explains_say_so_and_come_last(example: Example) -> None:
    made = Diagnosis(diagnostic="steering", findings=(change("noise", 0.4), change("real", 0.001)))
    facts = answers(diagnosed(example, made))[3].sources[0].facts
    assert [fact.text for fact in facts] == ["real", "noise"]
    assert facts[1].remark == "by intervention, p 0.400, no more than chance explains"


def test_an_intervention_that_came_to_nothing_is_told_by_its_summary(example: Example) -> None:
    tried = change("refusals").model_copy(update={"headline": False})
    made = Diagnosis(diagnostic="steering", summary="No causal direction.", findings=(tried,))
    (source,) = answers(diagnosed(example, made))[3].sources
    assert (source.summary, source.facts) == ("No causal direction.", ())


def test_a_diagnosis_of_many_interventions_says_how_many_are_left_out(example: Example) -> None:
    made = Diagnosis(diagnostic="heads", findings=tuple(change(f"head {n}") for n in range(MOST + 3)))
    (source,) = answers(diagnosed(example, made))[3].sources
    assert (len(source.facts), source.more) == (MOST, 3)


def test_every_link_of_the_first_page_leads_somewhere(example: Example, written: Written, parse: Parse) -> None:
    made = (
        Diagnosis(diagnostic="causes", findings=(cause("a", 0.8, "x"), layer(12))),
        Diagnosis(diagnostic="steering", findings=(change("refusals"), layer(15))),
    )
    tree = parse(written(diagnosed(example, *made), example[1]))
    links = [link.attributes["href"].removeprefix("#") for link in tree.one(id="answers").all("a")]
    assert set(links) == {"measurements", "diagnosis-1", "diagnosis-2", "agreement"}
    assert all(tree.one(id=link) for link in links)


def test_the_panel_says_which_methods_disagree_and_which_found_no_layer(
    example: Example, written: Written, parse: Parse
) -> None:
    made = tuple(
        Diagnosis(diagnostic=name, findings=(layer(value),))
        for name, value in (("probe", 12), ("patching", 12.5), ("sweep", 20), ("lens", None))
    )
    panel = parse(written(diagnosed(example, *made), example[1])).one(id="agreement")
    assert "The methods disagree" in panel.one("p").text
    rows = [[cell.text.strip() for cell in row.all("td")[1:]] for row in panel.one("tbody").all("tr")[:-1]]
    assert rows == [
        ["12", "[11, 13]", "correlational", "agrees"],
        ["12.5", "[11.5, 13.5]", "correlational", "agrees"],
        ["20", "[19, 21]", "correlational", "disagrees"],
        ["none found", "–", "correlational", "–"],
    ]


def test_a_run_without_a_decision_layer_has_no_panel(example: Example, written: Written, parse: Parse) -> None:
    assert not parse(written(*example)).all(id="agreement")


def test_a_trajectory_is_veiled_only_where_its_sample_is_labelled_harmful(
    example: Example, written: Written, parse: Parse
) -> None:
    harmful, harmless = (
        next(row.id for row in example[1] if row.sample.labels["harmful"] is wanted) for wanted in (True, False)
    )
    figures = tuple(
        Trajectory(name=f"of {id or 'no sample'}", id=id, values=(0.0, 1.0), words=("a", " b"))
        for id in (harmful, harmless, "")
    )
    tree = parse(written(diagnosed(example, Diagnosis(diagnostic="steps", figures=figures)), example[1]))
    shown = tree.one(class_="drawings").all("figure")
    assert [bool(figure.all(class_="veil")) for figure in shown] == [True, False, True]
    assert [[link.text for link in figure.all("a")] for figure in shown] == [[harmful], [harmless], []]


def test_a_trajectory_without_a_text_has_nothing_to_veil() -> None:
    assert not track(Trajectory(name="mean", values=(0.0, 1.0)), veiled=True).veiled
