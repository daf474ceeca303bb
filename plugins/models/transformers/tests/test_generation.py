"""What is generated: the same as transformers' own generate, whatever else is decoded beside it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from deepsight_transformers import TransformersModel, network as networks
from transformers import DynamicCache

from deepsight_core.protocol import Generate, Image, Output, system, user

PROMPTS = ["Hi", "How do I kill a process?", "a b a b", "Zwölf Boxkämpfer jagen Viktor", "x" * 40, "1 2 3 4"]


def requests(**options: object) -> list[Generate]:
    return [Generate(messages=(user(prompt),), **{"max_tokens": 24, **options}) for prompt in PROMPTS]


def texts(outputs: Sequence[Output]) -> list[str]:
    assert [output.error for output in outputs] == [None] * len(outputs)
    return [output.text for output in outputs]


def by_transformers(model: TransformersModel, request: Generate) -> tuple[list[int], list[int]]:
    """Prompt and answer in tokens, one row at a time."""
    session = model._session
    prompt = session.renderer.prompt(request.messages).ids
    row = session.model.generate(torch.tensor([prompt]), max_new_tokens=request.max_tokens, do_sample=False)[0]
    return list(prompt), row[len(prompt) :].tolist()


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_greedy_answers_equal_those_of_generate_row_by_row(saved, family):
    with TransformersModel(id=str(saved(family))).opened() as model:
        outputs = model.generate(requests())
        lengths = set()
        for request, output in zip(requests(), outputs, strict=True):
            prompt, answer = by_transformers(model, request)
            ended = answer[-1] in model._session.service().ending.tokens
            assert output.text == model._session.service().ending.decode(answer)
            assert (output.tokens_in, output.tokens_out) == (len(prompt), len(answer))
            assert output.stop == ("stop" if ended else "length")
            lengths.add(len(answer))
        assert len(lengths) > 2, "the test needs answers that differ in length"


@pytest.mark.parametrize("budget", [1, 150, 400])
def test_answers_do_not_depend_on_how_many_rows_are_decoded_at_once(model, saved, budget):
    alone = [model.generate([request])[0] for request in requests()]
    with TransformersModel(id=str(saved()), token_budget=budget).opened() as small:
        assert texts(small.generate(requests())) == texts(alone) == texts(model.generate(requests()))


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_a_common_beginning_is_read_once_and_changes_no_answer(saved, family):
    rubric = system("Answer in one word, and never in two. " * 2)
    asked = [Generate(messages=(rubric, *request.messages), max_tokens=24) for request in requests()]
    with TransformersModel(id=str(saved(family))).opened() as model:
        shapes = []
        watch = model._session.model.register_forward_pre_hook(
            lambda module, args, given: shapes.append(given["input_ids"].shape), with_kwargs=True
        )
        together = texts(model.generate(asked))
        watch.remove()
        assert (shapes[0][0] == 1) == (family != "mistral"), "sliding windows cannot share"
        assert together == [model.generate([request])[0].text for request in asked]


def test_sampled_answers_depend_on_the_seed_and_on_nothing_else(model):
    def sampled(seed):
        return [Generate(messages=(user(p),), max_tokens=24, temperature=0.8, top_p=0.9, seed=seed) for p in PROMPTS]

    together = texts(model.generate([*sampled(0), *requests(), *sampled(1)]))
    alone = [model.generate([request])[0].text for request in [*sampled(0), *requests(), *sampled(1)]]
    assert together == alone
    assert together[: len(PROMPTS)] != together[-len(PROMPTS) :]


def test_sampling_follows_the_temperature_and_the_nucleus(model):
    def first_tokens(**options):
        rows = [Generate(messages=(user("Hi"),), max_tokens=1, seed=n, **options) for n in range(400)]
        return [model.generate([row])[0].text for row in rows[:1]] + [output.text for output in model.generate(rows)]

    session = model._session
    ids = torch.tensor([session.renderer.prompt((user("Hi"),)).ids])
    with torch.inference_mode():
        chances = (session.model(ids).logits[0, -1] / 1.3).softmax(-1)
    top = session.service().ending.decode([int(chances.argmax())])
    share = first_tokens(temperature=1.3)[1:].count(top) / 400
    assert abs(share - float(chances.max())) < 4 * (0.25 / 400) ** 0.5
    assert set(first_tokens(temperature=1.3, top_p=1e-6)) == {top}


def test_an_answer_is_cut_at_the_first_of_its_stop_strings(model):
    whole = model.generate([Generate(messages=(user("a b a b"),), max_tokens=24)])[0]
    late, early = whole.text[4:6], whole.text[2:4]
    output = model.generate([Generate(messages=(user("a b a b"),), max_tokens=24, stop=(late, early))])[0]
    cut = min(whole.text.find(late), whole.text.find(early))
    assert (output.text, output.stop) == (whole.text[:cut], "stop")
    assert output.tokens_out < whole.tokens_out


def test_what_a_prompt_leaves_of_the_context_bounds_its_answer(saved):
    with TransformersModel(id=str(saved()), template="plain").opened() as model:
        fits, full = model.generate([Generate(messages=(user("x" * n),), max_tokens=500) for n in (155, 160)])
        assert fits.error is None
        assert fits.tokens_in + fits.tokens_out <= 160
        assert full.stop == "error"
        assert "160 tokens" in full.error
        assert full.text == ""


def test_a_request_that_cannot_be_rendered_fails_alone(model):
    picture = Generate(messages=(user(Image(uri="x.png", media_type="image/png")),))
    first, broken, last = model.generate([requests()[0], picture, requests()[1]])
    assert "image/png" in broken.error
    assert texts([first, last])


def test_weights_that_give_nan_are_an_error_not_an_answer(saved):
    with TransformersModel(id=str(saved())).opened() as model:
        torch.nn.init.constant_(model._session.model.lm_head.weight, float("nan"))
        output = model.generate(requests())[0]
        assert (output.stop, output.text) == ("error", "")
        assert "not finite" in output.error


class Trickle:
    """An inbox that fills as requests are answered, a few at a time."""

    def __init__(self, waiting: Sequence[Generate]) -> None:
        self.waiting = list(enumerate(waiting))
        self.random = random.Random(0)
        self.blocked = 0

    def take(self, most, wait=True):
        count = self.random.randint(1 if wait else 0, 3)
        self.blocked += wait
        taken, self.waiting = self.waiting[: min(most, count)], self.waiting[min(most, count) :]
        return taken


def test_requests_that_trickle_in_are_all_answered_as_if_they_had_come_together(model):
    many = [request for seed in range(4) for request in requests(seed=seed, temperature=0.7)]
    inbox = Trickle(many)
    replies = dict(model.stream(inbox))
    assert [replies[ticket].text for ticket in range(len(many))] == texts(model.generate(many))
    assert inbox.blocked < 6, "it waits only when there is nothing left to do"


def test_the_longest_request_is_not_overtaken_for_ever(saved):
    long = Generate(messages=(user("x" * 100),), max_tokens=40)
    with TransformersModel(id=str(saved()), token_budget=160).opened() as model:
        order = [ticket for ticket, _ in model.stream(Trickle([requests()[0], long, *requests(max_tokens=2) * 8]))]
    assert order.index(1) < 8


def test_running_out_of_memory_halves_the_batch_and_a_row_that_is_alone_too_large_fails(saved, monkeypatch):
    read = networks.Network.read

    def cramped(self, rows, shared=0):
        if len(rows) > 2 or max(map(len, rows)) > 90:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(self, rows, shared)

    with TransformersModel(id=str(saved())).opened() as model:
        expected = texts(model.generate(requests()))
        monkeypatch.setattr(networks.Network, "read", cramped)
        *outputs, huge = model.generate([*requests(), Generate(messages=(user("x" * 80),))])
        assert texts(outputs) == expected
        assert "out of memory" in huge.error


def test_running_out_of_memory_while_rows_leave_loses_none_of_them(model, monkeypatch):
    expected = texts(model.generate(requests()))
    reorder, failures = DynamicCache.reorder_cache, iter([True])

    def cramped(self, index):
        if len(index) < len(PROMPTS) and next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return reorder(self, index)

    monkeypatch.setattr(DynamicCache, "reorder_cache", cramped)
    assert texts(model.generate(requests())) == expected
    assert next(failures, None) is None, "the failure took place"


def test_any_other_failure_of_the_model_is_raised_not_answered(model, monkeypatch):
    def broken(self, rows, shared=0):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(networks.Network, "read", broken)
    with pytest.raises(RuntimeError, match="device-side"):
        model.generate(requests())
