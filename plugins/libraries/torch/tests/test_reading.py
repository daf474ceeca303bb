"""Readings: raw words, reference answers, suffixes, special tokens, answers token by token; and where wants look."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import Renderer, TransformersInside
from deepsight_torch.reading import Reading, places

from deepsight_core import Prompt, Want, assistant, user
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, EndOfInstruction, Last, MeanTokens, PostInstruction, Span, Steps

Opened = Callable[..., TransformersInside]
ASKED = Prompt(id="asked", messages=(user("Why?"),), answer="Because.", target=" Just so")


@pytest.fixture
def surrounding(tokenizer: Any) -> Any:
    """A tokenizer that begins every text with <s> and ends it with </s>, if asked for special tokens."""
    from tokenizers.processors import TemplateProcessing

    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return other


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_target_is_read_by_itself(surrounding: Any) -> None:
    rendered = Reading("target").render(Renderer(surrounding), ASKED)
    assert rendered.ids == (0, *ids(surrounding, " Just so"))
    assert rendered.answer == len(rendered)


def test_a_raw_exchange_is_prompt_and_answer_each_tokenised_by_itself(surrounding: Any) -> None:
    newlines = Prompt(id="n", messages=(user("Why?\n"),), answer="\n\nBecause.")
    rendered = Reading("exchange", raw=True).render(Renderer(surrounding), newlines)
    assert rendered.ids == (0, *ids(surrounding, "Why?\n"), *ids(surrounding, "\n\nBecause."))
    assert rendered.ids != (0, *ids(surrounding, "Why?\n\n\nBecause."))  # two newlines are one token
    start, stop = rendered.spans["response"]
    assert rendered.ids[start:stop] == ids(surrounding, "\n\nBecause.")


def test_a_raw_prompt_is_what_the_raw_exchange_begins_with(surrounding: Any) -> None:
    renderer = Renderer(surrounding)
    prompt, exchange = (Reading(text, raw=True).render(renderer, ASKED) for text in ("prompt", "exchange"))
    assert exchange.ids[: len(prompt)] == prompt.ids == (0, *ids(surrounding, "Why?"))


def test_an_answer_given_token_by_token_is_taken_as_it_is(tokenizer: Any) -> None:
    written = (40, 41, 1)  # not how the tokenizer would write it, and with the end token
    given = ASKED.model_copy(update={"answer_tokens": written})
    for raw in (False, True):
        renderer = Renderer(tokenizer)
        prompt = renderer.prompt(given.messages, raw=raw)
        rendered = Reading("exchange", raw=raw).render(renderer, given)
        assert rendered.ids == (*prompt.ids, *written)
        assert rendered.places("response") == range(len(prompt), len(prompt) + 3)


def test_a_suffix_follows_the_answer_without_a_space_and_is_no_part_of_it(tokenizer: Any) -> None:
    rendered = Reading("exchange", suffix="Now judge.").render(Renderer(tokenizer), ASKED)
    assert rendered.text.endswith("Because.Now judge.<|im_end|>\n")
    start, stop = rendered.spans["response"]
    assert tokenizer.decode(rendered.ids[start:stop]) == "Because."


def test_a_suffix_is_the_last_thing_after_given_tokens(tokenizer: Any) -> None:
    given = ASKED.model_copy(update={"answer_tokens": (40,)})
    rendered = Reading("exchange", suffix="!").render(Renderer(tokenizer), given)
    assert rendered.ids[-2:] == (40, *ids(tokenizer, "!"))


def test_special_tokens_are_added_on_demand_and_spans_move_along(surrounding: Any) -> None:
    plain, special = (Reading("exchange", specials=s).render(Renderer(surrounding), ASKED) for s in (False, True))
    assert special.ids == (0, *plain.ids, 1)
    assert special.end_of_instruction == plain.end_of_instruction + 1
    for name, (start, stop) in plain.spans.items():
        assert special.spans[name] == (start + 1, stop + 1)


def test_nothing_follows_given_tokens_even_where_special_tokens_are_wanted(surrounding: Any) -> None:
    given = ASKED.model_copy(update={"answer_tokens": (40,)})
    assert Reading("exchange", specials=True).render(Renderer(surrounding), given).ids[-1] == 40


def test_a_template_that_writes_bos_gets_a_second_one_only_on_demand(surrounding: Any) -> None:
    surrounding.chat_template = "<s>{% for m in messages %}{{ m.content }}{% endfor %}"
    for specials in (False, True):
        rendered = Reading("prompt", specials=specials).render(Renderer(surrounding), ASKED)
        assert rendered.ids.count(0) == 1 + specials


def test_wants_whose_text_is_the_same_share_a_reading() -> None:
    assert Reading.of(Want(text="target", raw=True, suffix="x")) == Reading.of(Want(text="target"))
    assert Reading.of(Want(suffix="x")) == Reading.of(Want())
    assert Reading.of(Want(raw=True)) != Reading.of(Want())


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (EndOfInstruction(), "?"),
        (PostInstruction(), "<|im_end|>\n<|im_start|>assistant\n"),
        (Span(name="user"), "Why?"),
        (Span(name="response"), "Because."),
        (Span(name="response", last=True), "."),
        (Steps(), "\nBecause"),
        (Steps(stop=3), "\nBe"),
        (Last(k=2), "<|im_end|>\n"),
    ],
)
def test_positions_are_where_they_say(tokenizer: Any, where: Any, expected: str) -> None:
    rendered = Renderer(tokenizer).exchange(ASKED.messages, ASKED.answer)
    assert tokenizer.decode([rendered.ids[place] for place in places(where, rendered)]) == expected


def test_post_instruction_of_a_prompt_ends_with_the_opening_of_the_answer(tokenizer: Any) -> None:
    rendered = Renderer(tokenizer).prompt(ASKED.messages)
    assert places(PostInstruction(), rendered)[-1] == len(rendered) - 1


def test_text_is_what_is_no_image_and_images_need_not_be_side_by_side(tokenizer: Any) -> None:
    from deepsight_torch import Rendered

    rendered = Rendered(tuple(range(10)), "", {"image:0": (1, 3), "image:1": (5, 6)}, None)
    assert places(Span(name="image"), rendered) == (1, 2, 5)
    assert places(Span(name="image:1"), rendered) == range(5, 6)
    assert places(Span(name="text"), rendered) == (0, 3, 4, 6, 7, 8, 9)
    assert places(Span(name="text"), rendered, truncate=5) == (0, 3, 4)


def test_an_answer_without_anything_before_it_was_decided_nowhere(tokenizer: Any) -> None:
    rendered = Renderer(tokenizer).exchange([user("")], "Yes", raw=True)
    with pytest.raises(DiagnosticError, match="no token before its answer"):
        places(Steps(), rendered)


def test_what_is_read_is_the_text_of_the_tokens(opened: Opened) -> None:
    inside = opened("llama")
    (seen,) = inside.read(Want(positions=Span(name="user")), [ASKED])
    assert seen == ("W", "h", "y", "?")
    (decided,) = inside.read(Want(positions=Steps(), text="exchange"), [ASKED])
    assert "".join(decided) == "Because."
    with pytest.raises(DiagnosticError, match="prompt 'asked': has no tokens at span image"):
        inside.read(Want(positions=Span(name="image")), [ASKED])


def test_positions_that_vary_give_one_array_a_prompt(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside = opened(family)
    steps, mean = Want(positions=Steps(), text="exchange"), Want(positions=All(), reduce=MeanTokens(), text="exchange")
    every = Want(positions=All(), text="exchange", layers=(2, 0))
    acts = inside.run([steps, every, mean, Want()], prompts)
    assert acts.error < 1e-5
    for row, prompt in enumerate(prompts):
        text = inside.renderer.exchange(prompt.messages, prompt.answer)
        start, stop = text.spans["response"]
        assert acts.each(every)[row].shape == (2, len(text), 32)
        np.testing.assert_array_equal(acts.each(steps)[row][[2, 0]], acts.each(every)[row][:, start - 1 : stop - 1])
        np.testing.assert_allclose(acts[mean][row, [2, 0], 0], acts.each(every)[row].mean(axis=1), rtol=1e-4, atol=1e-5)
    assert acts.each(Want())[3].shape == (3, 1, 32)


@pytest.mark.parametrize("raw", [False, True])
def test_a_step_is_the_state_that_decides_its_token(opened: Opened, family: str, raw: bool) -> None:
    """Greedy decoding with a cache, token by token, against one pass over what it wrote."""
    inside = opened(family)
    model, written, states = inside.sites.model, [], []
    row = inside.renderer.prompt(ASKED.messages, raw=raw).ids
    with torch.no_grad():
        out = model(torch.tensor([row]), use_cache=True, output_hidden_states=True)
        for _ in range(4):
            states.append([out.hidden_states[layer][0, -1].numpy() for layer in (1, 2)])
            written.append(int(out.logits[0, -1].argmax()))
            out = model(
                torch.tensor([written[-1:]]),
                past_key_values=out.past_key_values,
                use_cache=True,
                output_hidden_states=True,
            )
    want = Want(positions=Steps(), text="exchange", layers=(0, 1), raw=raw)
    given = ASKED.model_copy(update={"answer_tokens": tuple(written)})
    (found,) = inside.run([want], [given]).each(want)
    np.testing.assert_allclose(found, np.stack(states, axis=1), rtol=1e-3, atol=1e-4)
    assert inside.read(want, [given]) == (tuple(inside.renderer.tokenizer.decode([token]) for token in written),)


def test_two_readings_are_two_passes_of_one_run(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    wants = [Want(), Want(raw=True), Want(text="target")]
    aimed = [prompt.model_copy(update={"target": "It is so."}) for prompt in prompts]
    acts = inside.run(wants, aimed)
    assert [len(one.rows) for one in inside.plan(wants, aimed).passes] == [10, 10, 1]
    assert acts.lengths["prompt"][0] > len("Please tell me")
    assert set(acts.lengths["target"]) == {len("It is so.")}


def test_the_last_message_of_an_assistant_counts_as_the_answer_of_an_exchange(tokenizer: Any) -> None:
    rendered = Renderer(tokenizer).exchange([user("Why?"), assistant("Because.")], None)
    assert tokenizer.decode([rendered.ids[place] for place in places(Steps(), rendered)]) == "\nBecause"
