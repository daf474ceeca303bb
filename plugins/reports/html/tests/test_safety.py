"""What a model, a data set or a plugin says never becomes markup, and the page asks the network for nothing."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import pytest

from deepsight_core.protocol import Exchange, Generate, Image, Output, Record, Report, Text, user

Parse = Callable[[str], Any]
Written = Callable[..., str]

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>{{777*777}}{% raw %}"
    "</style></title></details></table>--><!-- "
    "javascript:alert(1) https://evil.example/x.png \u202eabc\u200f\u2028 &lt;b&gt;"
)
FIXED = {"method", "better", "evidence", "status", "stop", "type", "media_type", "protocol"}
FREE_KEYS = {"labels", "metadata", "table", "artifacts", "config", "components", "models", "environment", "seconds"}
TAGS = """
html head meta title style body header nav main section article script
h1 h2 h3 p ul li dl div dt dd a bdi span small abbr strong b code details summary
table thead tbody tr th td figure figcaption form label select option input output
svg line rect circle path text desc
"""


def poison(value: Any, free: bool = False) -> Any:
    """Every string made hostile, and every key that is not a field's name."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [poison(item, free) for item in value]
    if isinstance(value, dict):
        return {
            poison(key) if free else key: item
            if not free and (key in FIXED or (key == "role" and item in ("user", "assistant", "system")))
            else poison(item, free or key in FREE_KEYS)
            for key, item in value.items()
        }
    return value


@pytest.fixture
def page(example: tuple[Report, list[Record]], written: Written) -> str:
    report, records = example
    request = Generate(messages=(user("And then?"),), role="judge", tag="again")
    spoken = user("Look at this.", Text(text="here"), Image(uri="javascript:alert(1)", media_type="image/png"))
    records[1] = records[1].model_copy(
        update={
            "sample": records[1].sample.model_copy(update={"messages": (spoken,)}),
            "transcript": (Exchange(request=request, reply=Output(error="gone", stop="error")),),
            "output": Output(text="answer", reasoning="thinking"),
        }
    )
    return written(
        Report.model_validate(poison(report.model_dump(mode="json"))),
        [Record.model_validate(poison(record.model_dump(mode="json"))) for record in records],
    )


def elements(tree: Any) -> Iterable[Any]:
    return tree.all()


def test_hostile_text_adds_no_element_and_no_handler(page: str, parse: Parse) -> None:
    found = list(elements(parse(page)))
    assert {element.tag for element in found} <= set(TAGS.split())
    assert len([element for element in found if element.tag == "script"]) == 1
    for element in found:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]


def test_hostile_text_is_shown_as_it_is(page: str, parse: Parse) -> None:
    tree = parse(page)
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u200f", "⟨U+200F⟩")
    passages = tree.all("div", class_="text")
    headings = [
        *tree.all("h1"),
        *tree.one(id="measurements").all("h3"),
        *tree.all("code"),
        *tree.all("p", class_="summary"),
    ]
    warnings = [
        *tree.one(class_="notes").all("li"),
        *tree.all("p", class_="failure"),
        *(item for caveats in tree.all(class_="caveats") for item in caveats.all("li")),
    ]
    names = [*tree.all("figcaption"), *tree.one("table", class_="samples").all("th"), *tree.all("option")]
    figures = [figure for drawings in tree.all(class_="drawings") for figure in drawings.all("figure")]
    tokens = [token for figure in figures for token in figure.all("span", class_="token")]
    drawn = [figure.one("svg", class_="figure").all("title")[0] for figure in figures]
    axes = [text for figure in figures for text in figure.all("text", class_="axis-name")]
    settings = [*tree.one(id="provenance").all("details")[-1].all("th")]
    own = {"Sample", "Data set", "Labels", "Verdict", "all", "error", "unscored", "failed", "unparsed"}
    for place in (*passages, *headings, *warnings, *names, *tokens, *drawn, *axes, *settings):
        assert shown in place.text or place.text in own
    assert len(passages) > 100 and len(settings) > 5 and len(tokens) == 96 and len(axes) == 10
    assert "{{777*777}}" in page and ">603729<" not in page


def test_no_direction_control_reaches_the_page(page: str) -> None:
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069\0]", page)


def test_the_page_refers_to_nothing_outside_itself(page: str, parse: Parse) -> None:
    for element in elements(parse(page)):
        assert not {"src", "srcset", "action", "background", "poster", "data", "xlink:href"} & element.attributes.keys()
        assert element.attributes.get("href", "#").startswith("#")
        assert element.tag not in {"link", "base", "iframe", "object", "embed", "img", "image", "use"}
    style = parse(page).one("style").text
    assert "url(" not in style and "@import" not in style


def test_the_policy_admits_this_style_and_this_script_and_nothing_else(page: str, parse: Parse) -> None:
    tree = parse(page)
    policy = next(m.attributes["content"] for m in tree.all("meta") if "Security" in m.attributes.get("http-equiv", ""))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        digest = b64encode(sha256(tree.one(tag).text.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert rules == {"base-uri": "'none'", "form-action": "'none'"}


def test_ids_are_unique_and_every_link_has_its_target(page: str, parse: Parse) -> None:
    found = list(elements(parse(page)))
    ids = [element.attributes["id"] for element in found if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    named = [word for element in found for word in element.attributes.get("aria-labelledby", "").split()]
    links = [element.attributes["href"][1:] for element in found if "href" in element.attributes]
    assert {*named, *links} <= set(ids)
