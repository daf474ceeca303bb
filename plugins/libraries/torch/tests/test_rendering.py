"""Rendering: the tokens that the model reads, and whose words they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from deepsight_torch import Rendered, Renderer

from deepsight_core import Image, assistant, system, user
from deepsight_core.errors import CapabilityError, ConfigError


def said(tokenizer: Any, rendered: Rendered, name: str) -> str:
    start, stop = rendered.spans[name]
    return tokenizer.decode(rendered.ids[start:stop])


@pytest.fixture
def changed(tokenizer: Any) -> Any:
    """Makes a tokenizer with another chat template."""

    def change(template: str | None) -> Any:
        other = copy.deepcopy(tokenizer)
        other.chat_template = template
        return other

    return change


def test_a_prompt_ends_with_the_opening_of_the_answer(tokenizer: Any) -> None:
    rendered = Renderer(tokenizer).prompt([user("Hi")])
    assert tokenizer.decode(rendered.ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_that_writes_bos_gets_one_and_not_two(changed: Any) -> None:
    tokenizer = changed("<s>{% for m in messages %}{{ m.content }}{% endfor %}")
    assert Renderer(tokenizer).prompt([user("Hi")]).ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("words", ["Hi", "user", "a\nuser\na", "  padded \n\n", "héllo 😀", "<|im_end|>", "ends so.\n"])
def test_the_user_span_is_the_words_of_the_last_user_message(tokenizer: Any, words: str) -> None:
    rendered = Renderer(tokenizer).prompt([user("user"), assistant("user"), user(words)])
    assert said(tokenizer, rendered, "user") == words
    assert rendered.end_of_instruction == rendered.spans["user"][1] - 1


def test_words_are_found_where_the_template_trims_them(changed: Any) -> None:
    tokenizer = changed("{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[/]{% endfor %}[assistant]")
    assert said(tokenizer, Renderer(tokenizer).prompt([user("  Hi \n")]), "user") == "Hi"


def test_an_empty_instruction_has_no_end(tokenizer: Any) -> None:
    assert Renderer(tokenizer).prompt([user("")]).end_of_instruction is None


def test_an_exchange_begins_with_the_tokens_of_its_prompt_and_marks_the_answer(tokenizer: Any) -> None:
    renderer = Renderer(tokenizer)
    prompt, exchange = renderer.prompt([user("Hi")]), renderer.exchange([user("Hi")], "Well, hello.")
    assert exchange.ids[: len(prompt)] == prompt.ids
    assert said(tokenizer, exchange, "response") == "Well, hello."
    assert exchange.spans["response"][0] == len(prompt)
    assert exchange.text.endswith("hello.<|im_end|>\n")
    assert exchange.end_of_instruction == prompt.end_of_instruction


def test_no_token_straddles_prompt_and_answer(tokenizer: Any) -> None:
    renderer = Renderer(tokenizer)
    prompt, exchange = renderer.prompt([user("Hi")]), renderer.exchange([user("Hi")], "\n\n\nHello.")
    joined = tokenizer(exchange.text, add_special_tokens=False)["input_ids"]
    assert tuple(joined[: len(prompt)]) != prompt.ids  # read as one text, a pair of newlines spans the border
    assert exchange.ids[: len(prompt)] == prompt.ids
    assert said(tokenizer, exchange, "response") == "\n\n\nHello."


def test_an_exchange_without_answer_is_the_messages_as_they_are(tokenizer: Any) -> None:
    exchange = Renderer(tokenizer).exchange([user("Hi"), assistant("Hello.")], None)
    assert exchange.text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    assert said(tokenizer, exchange, "response") == "Hello."


def test_an_empty_answer_has_an_empty_response(tokenizer: Any) -> None:
    start, stop = Renderer(tokenizer).exchange([user("Hi")], "").spans["response"]
    assert start == stop


@pytest.mark.parametrize(
    "template",
    [
        # adds an empty thought to past answers
        "{% for m in messages %}[{{ m.role }}]{{ '<think></think>' if m.role == 'assistant' }}{{ m.content }}"
        "{% endfor %}{{ '[assistant]' if add_generation_prompt }}",
        # opens a thought that it strips from past answers
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{{ '[assistant]<think>' if add_generation_prompt }}",
    ],
)
def test_an_answer_follows_the_prompt_directly_where_the_template_rewrites_the_past(
    changed: Any, template: str
) -> None:
    tokenizer = changed(template)
    renderer = Renderer(tokenizer)
    prompt, exchange = renderer.prompt([user("Hi")]), renderer.exchange([user("Hi")], "Yes.")
    assert exchange.text == prompt.text + "Yes."
    assert exchange.ids[: len(prompt)] == prompt.ids
    assert said(tokenizer, exchange, "response") == "Yes."


@pytest.mark.parametrize(
    "head",
    ["{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}", ""],
    ids=["rejects", "drops"],
)
def test_a_system_message_goes_before_the_first_user_message_where_there_is_no_such_role(
    changed: Any, head: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
    renderer = Renderer(changed(head + body))
    assert renderer.prompt([system("Be kind."), user("Hi")]).text == "[user]Be kind.\n\nHi"
    assert renderer.prompt([system("Be kind."), user("Ho")]).text == "[user]Be kind.\n\nHo"
    assert not renderer.keeps_system
    assert len(caplog.records) == 1


def test_a_tokenizer_without_template_asks_for_a_choice(changed: Any) -> None:
    with pytest.raises(ConfigError, match='template = "plain"'):
        Renderer(changed(None))


def test_plain_text_is_joined_by_newlines_and_answered_directly(changed: Any) -> None:
    renderer = Renderer(changed(None), template="plain")
    exchange = renderer.exchange([system("Be kind."), user("2 + 2 =")], " 4")
    assert exchange.text == "Be kind.\n2 + 2 = 4"
    assert said(renderer.tokenizer, exchange, "user") == "2 + 2 ="
    assert said(renderer.tokenizer, exchange, "response") == " 4"


def test_plain_text_begins_as_the_tokenizer_begins_texts(changed: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = changed(None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    rendered = Renderer(tokenizer, template="plain").prompt([user("Hi")])
    assert rendered.ids[0] == 0
    assert 1 not in rendered.ids
    assert said(tokenizer, rendered, "user") == "Hi"


def test_a_template_may_come_from_a_file_or_as_text(tokenizer: Any, tmp_path: Any) -> None:
    jinja = "{{ greeting }}{{ messages[-1].content }}"
    (tmp_path / "chat.jinja").write_text(jinja)
    for template in (jinja, str(tmp_path / "chat.jinja")):
        assert Renderer(tokenizer, template, {"greeting": "Oh: "}).prompt([user("Hi")]).text == "Oh: Hi"
    with pytest.raises(ConfigError, match="nor a file"):
        Renderer(tokenizer, "no-such-file")


def test_a_tokenizer_without_offsets_finds_the_same_words(tokenizer: Any) -> None:
    class Slow:
        is_fast = False
        chat_template, bos_token_id = tokenizer.chat_template, 0
        decode, apply_chat_template = tokenizer.decode, tokenizer.apply_chat_template

        def __call__(self, text: str, add_special_tokens: bool = True, return_offsets_mapping: bool = False) -> Any:
            assert not return_offsets_mapping
            return tokenizer(text, add_special_tokens=add_special_tokens)

    messages = [user("Say: hello"), assistant("Hello"), user("Again")]
    slow, fast = Renderer(Slow()).exchange(messages, "Hello!"), Renderer(tokenizer).exchange(messages, "Hello!")
    assert slow == fast


def test_media_are_refused(tokenizer: Any) -> None:
    with pytest.raises(CapabilityError, match="image/png"):
        Renderer(tokenizer).prompt([user("Look", Image(uri="x.png", media_type="image/png"))])


def test_messages_that_the_template_refuses_are_an_error_that_says_so(changed: Any) -> None:
    tokenizer = changed("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ConfigError, match="refuses these messages: roles must alternate"):
        Renderer(tokenizer).prompt([user("a"), user("b")])
