import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deepsight_html import HtmlReport, deepsight_reporters
from deepsight_html.profiles import profiles
from deepsight_html.samples import shares

from deepsight_core.errors import CorruptRecords, RunError
from deepsight_core.protocol import Diagnosis, Finding, Manifest, Measurement, Record, Report, Site

Parse = Callable[[str], Any]
Written = Callable[..., str]
Example = tuple[Report, list[Record]]


def words(element: Any) -> str:
    return " ".join(element.text.split())


def layers(name: str, values: list[float | None], **site: Any) -> list[Finding]:
    return [
        Finding(name=name, value=value, site=Site(**{"kind": "resid_out", "layer": layer, **site}))
        for layer, value in enumerate(values)
    ]


def empty() -> Report:
    manifest = Manifest(
        name="nothing",
        created="2025-11-23T21:12:00+00:00",
        deepsight="0.1.0",
        seed=0,
        config={},
        components={},
        models={},
        data=(),
        environment={},
    )
    return Report(manifest=manifest, finished="2025-11-23T21:12:01+00:00", seconds={}, counts={}, measurements=())


# --- The run directory ------------------------------------------------------------------------


def test_the_plugin_offers_the_reporter_under_its_name() -> None:
    assert [reporter.name for reporter in deepsight_reporters()] == ["html"]


def test_a_run_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no report"):
        HtmlReport().write(tmp_path)


def test_a_damaged_record_is_refused_by_its_line(example: Example, written: Written, tmp_path: Path) -> None:
    written(*example)
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"dataset": 1}\n')
    with pytest.raises(CorruptRecords, match="line 41"):
        HtmlReport().write(tmp_path)


def test_a_run_that_did_nothing_still_makes_a_page(written: Written, parse: Parse) -> None:
    tree = parse(written(empty(), []))
    assert tree.one("h1").text == "nothing"
    assert len(tree.all(class_="empty")) == 2


# --- Header and measurements ------------------------------------------------------------------


def test_the_header_names_the_model_its_variant_and_how_much_of_the_data_was_used(
    example: Example, written: Written, parse: Parse
) -> None:
    facts = {fact.one("dt").text: fact.one("dd").text for fact in parse(written(*example)).one("dl").all("div")}
    assert facts["Target"] == "smollm2, guarded"
    assert facts["Data"] == "xstest: 20 of 450 samples; contrast-pairs: 20 samples"
    assert facts["Records"] == "40, unscored 2, errors 1"
    assert facts["Finished"] == "23 November 2025, 21:27 UTC, after 94.0 s"


def test_a_measurement_shows_value_interval_bounds_counts_and_direction(
    example: Example, written: Written, parse: Parse
) -> None:
    row = parse(written(*example)).one(id="measurements").all("tbody")[0].all("tr")[0]
    assert words(row.one("th")) == "over-refusal rate ↓ lower is better judge string-match"
    cells = {cell.attributes["data-name"]: words(cell) for cell in row.all("td") if "data-name" in cell.attributes}
    assert cells == {
        "Value": "0.263",
        "95 % interval": "[0.118, 0.488] wilson",
        "Bounds": "[0.250, 0.300]",
        "Scored": "19",
        "Unscored": "1",
    }
    assert len(row.one("svg").all("circle")) == len(row.one("svg").all("rect")) == 1


def test_what_could_not_be_scored_has_no_dot_and_says_so(example: Example, written: Written, parse: Parse) -> None:
    rows = parse(written(*example)).one(id="measurements").all("tr")
    row = next(row for row in rows if "judge agreement" in row.text)
    assert row.one("svg").all("circle") == []
    assert "nothing scored" in row.text


def test_a_metric_beyond_zero_and_one_has_an_axis_of_its_own(example: Example, written: Written, parse: Parse) -> None:
    blocks = parse(written(*example)).one(id="measurements").all("article")[0].all("tbody")
    labels = [[tick.text for tick in block.one(class_="axis").all("text")] for block in blocks[:2]]
    assert labels == [["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"], ["180", "200", "220", "240", "260"]]


def test_many_groups_stay_behind_a_click(example: Example, written: Written, parse: Parse) -> None:
    report, records = example
    groups = tuple(
        Measurement(dataset="xstest", metric="refusal rate", value=index / 400, count=10, group=f"type={index}")
        for index in range(400)
    )
    tree = parse(written(report.model_copy(update={"measurements": (*report.measurements, *groups)}), records))
    details = tree.one(id="measurements").all("article")[0].one("details")
    assert "open" not in details.attributes
    assert len(details.all("td", class_="value")) == 402


def test_verdicts_are_tallied_over_all_records_with_failures_apart(
    example: Example, written: Written, parse: Parse
) -> None:
    tree = parse(written(*example, max_samples=0))
    tallies = tree.all(class_="tally")
    chips = [{words(chip): chip.attributes["class"] for chip in tally.all(class_="chip")} for tally in tallies]
    assert chips[0]["failed 1"] == chips[0]["error instead of an answer 1"] == "chip failed"
    assert chips[1]["unparsed 1"] == "chip unparsed"


# --- Diagnoses --------------------------------------------------------------------------------


def test_a_failed_diagnosis_is_plain_in_its_place_and_in_the_contents(
    example: Example, written: Written, parse: Parse
) -> None:
    tree = parse(written(*example))
    assert words(tree.one(id="diagnosis-3").one("p")).startswith("This diagnosis could not be made. spin needs")
    assert words(tree.one("nav").all("a")[3]) == "spin failed"


def test_a_profile_has_a_panel_for_each_position_with_its_controls(
    example: Example, written: Written, parse: Parse
) -> None:
    figures = parse(written(*example)).one(id="diagnosis-1").one(class_="several").all("figure")
    assert [words(figure.one("figcaption")) for figure in figures] == [
        "resid_out, last",
        "resid_out, end-of-instruction",
    ]
    assert [len(figure.all("line", class_="rule")) for figure in figures] == [3, 2]
    for figure in figures:
        assert len(figure.one("svg", class_="figure").all("path", class_="null")) == 1
        assert "bag-of-words auroc 0.810 [0.700, 0.900]" in words(figure.one("ul"))
    assert "1 without a value" in figures[0].one("desc").text


def test_one_layer_only_makes_no_profile_but_stays_in_the_table(written: Written, parse: Parse) -> None:
    made = Diagnosis(diagnostic="x-boundary", findings=tuple(layers("separation", [2.0])))
    section = parse(written(empty().model_copy(update={"diagnoses": (made,)}), [])).one(id="diagnosis-1")
    assert section.all("figure") == []
    assert words(section.one(class_="findings").all("td")[0]) == "resid_out 0"


def test_one_number_for_each_of_two_places_makes_no_profile() -> None:
    found = [
        Finding(name="first layer", value=layer, site=Site(kind="resid_out", layer=layer, position=position))
        for layer, position in ((14, "last"), (20, "end-of-instruction"))
    ]
    assert profiles(found) == ()


def test_a_name_keeps_its_colour_in_every_panel() -> None:
    findings = [
        *layers("auroc", [0.5, 0.6], position="last"),
        *layers("nested auroc", [0.5], position="last"),
        *layers("mass-mean auroc", [0.4, 0.5], position="last"),
        *layers("auroc", [0.5, 0.6], position="end"),
        *layers("mass-mean auroc", [0.4, 0.5], position="end"),
    ]
    (profile,) = profiles(findings)
    styles = [{curve.name: curve.style for curve in panel.curves} for panel in profile.panels]
    assert styles[1].items() <= styles[0].items()


def test_quantities_of_different_units_or_names_are_not_drawn_together() -> None:
    findings = [
        *layers("separation", [1.0, 2.0]),
        *layers("accuracy", [0.5, 0.9]),
        *(finding.model_copy(update={"unit": "d'"}) for finding in layers("raw separation", [100.0, 90.0])),
        *layers("inseparation", [0.1, 0.1]),
    ]
    assert [profile.name for profile in profiles(findings)] == [
        "separation",
        "accuracy",
        "raw separation",
        "inseparation",
    ]


def test_a_control_is_drawn_where_unit_or_name_say_that_it_compares() -> None:
    findings = [
        *(finding.model_copy(update={"unit": "AUROC"}) for finding in layers("auroc", [0.5, 0.9])),
        *layers("similarity", [0.2, 0.3]),
        Finding(name="control: words", value=0.8, unit="AUROC", evidence="control"),
        Finding(name="shuffled similarity", value=0.1, null_low=0.0, null_high=0.2, evidence="control"),
        Finding(name="control: other", value=9.0, evidence="control"),
        Finding(name="gain", value=0.1, unit="AUROC", site=Site(kind="resid_out", layer=1)),
    ]
    drawn = {profile.name: profile.panels[0] for profile in profiles(findings)}
    assert {name: [rule.name for rule in panel.rules] for name, panel in drawn.items()} == {
        "auroc": ["control: words"],
        "similarity": ["shuffled similarity"],
    }
    assert [curve.name for curve in drawn["auroc"].curves] == ["auroc"]
    assert drawn["similarity"].rules[0].label == "0.100 [0.000, 0.200]"


def test_heads_are_listed_rather_than_drawn_as_if_they_were_layers() -> None:
    assert profiles([*layers("auroc", [0.5, 0.6], head=3)]) == ()


def test_internal_scores_are_set_against_verdicts(example: Example, written: Written, parse: Parse) -> None:
    figure = parse(written(*example)).one(id="diagnosis-1").all("figure")[-1]
    counted = [words(text) for text in figure.all("text", class_="count")]
    assert sum(map(int, counted)) == 40
    assert "harmful · refused: 14 samples" in figure.one("desc").text


# --- Samples ----------------------------------------------------------------------------------


def test_harmful_text_stands_only_behind_a_click_that_gives_notice(
    example: Example, written: Written, parse: Parse
) -> None:
    tree = parse(written(*example))
    for body in tree.one("table", class_="samples").all("tbody"):
        details = body.all("details")[0]
        harmful = "harmful true" in words(body)
        outside = body.text.replace(details.text, "") + details.all("summary")[0].text
        assert ("pick the lock" in outside) is False
        assert ("Labelled harmful" in outside) is harmful
        assert "open" not in details.attributes
        assert ("pick the lock" in details.text) is harmful
    assert "pick the lock" not in "".join(value for e in tree.all() for value in e.attributes.values())


def test_unscored_and_errors_can_be_seen_and_filtered(example: Example, written: Written, parse: Parse) -> None:
    tree = parse(written(*example))
    options = [option.text for option in tree.one("select", id="by-outcome").all("option")]
    assert options == ["all", "complied", "error", "failed", "refused", "unparsed", "unscored"]
    unscored = str(options.index("unscored") - 1)
    rows = [body for body in tree.all("tbody") if unscored in body.attributes.get("data-outcomes", "").split()]
    assert len(rows) == 2
    assert any("the server closed the connection" in row.text for row in rows)


def test_a_row_carries_the_internal_scores_of_its_sample(example: Example, written: Written, parse: Parse) -> None:
    report, records = example
    tree = parse(written(report, records))
    body = next(body for body in tree.one(id="sample-table").all("tbody") if records[0].id in body.text)
    cells = body.all("td", class_="num")
    assert [cell.attributes["data-name"] for cell in cells] == ["p(harmful)", "position", "side"]
    assert float(cells[0].attributes["data-key"]) == report.diagnoses[0].table[records[0].id]["p(harmful)"]


def test_one_diagnostic_in_two_modes_keeps_its_scores_apart(example: Example, written: Written, parse: Parse) -> None:
    report, records = example
    two = tuple(
        Diagnosis(diagnostic="x-boundary", mode=mode, table={records[0].id: {"position": value}})
        for mode, value in (("corrected", 0.25), ("reference", 0.75))
    )
    tree = parse(written(report.model_copy(update={"diagnoses": two}), records))
    body = next(body for body in tree.one(id="sample-table").all("tbody") if records[0].id in body.text)
    assert [words(cell) for cell in body.all("td", class_="num")] == ["0.250", "0.750"]


def test_a_long_text_is_cut_and_says_by_how_much(example: Example, written: Written, parse: Parse) -> None:
    report, records = example
    long = records[2].model_copy(update={"output": records[2].output.model_copy(update={"text": "y" * 5000})})
    body = parse(written(report, [long])).one("table", class_="samples").one("tbody")
    assert body.text.count("y" * 4000) == 1
    assert "1000 more characters in records.jsonl" in words(body)


def test_places_that_a_small_data_set_leaves_free_go_to_the_larger_ones() -> None:
    assert shares({"a": 1000, "b": 10, "c": 300}, 500) == {"b": 10, "c": 245, "a": 245}
    assert shares({"a": 3, "b": 4}, 500) == {"a": 3, "b": 4}
    assert shares({}, 500) == {}


def test_three_thousand_records_make_a_page_of_reasonable_size_that_says_what_it_leaves_out(
    example: Example, written: Written, parse: Parse
) -> None:
    report, records = example
    many = [
        record.model_copy(update={"sample": record.sample.model_copy(update={"id": f"{record.id}-{copy}"})})
        for copy in range(75)
        for record in records
    ]
    started = time.process_time()
    page = written(report, many)
    seconds = time.process_time() - started
    tree = parse(page)
    assert len(tree.one("table", class_="samples").all("tbody")) == 2000
    assert [words(note).split(" are left")[0] for note in tree.all(class_="left-out")] == [
        "500 of 1500 records of xstest",
        "500 of 1500 records of contrast-pairs",
    ]
    assert len(page) < 6_000_000
    assert seconds < 10
