"""Likelihoods of continuations: the same as reading each text on its own."""

from __future__ import annotations

import pytest
import torch
from deepsight_transformers import TransformersModel

from deepsight_core.protocol import Generate, LogLikelihood, user

ASKED = [
    LogLikelihood(messages=(user("Is a b?"),), continuations=("Yes", "No", "a b and so on, at length", "N")),
    LogLikelihood(messages=(user("x" * 30),), continuations=("A", "B")),
    LogLikelihood(messages=(user("Count:"),), continuations=(" 1 2 3", " a")),
]


def naive(model: TransformersModel, text: str, continuation: str) -> float:
    """One pass over the whole text, float32."""
    session = model._session
    start = len(session.tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = session.tokenizer(text + continuation, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        chances = session.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(chances[place - 1, ids[place]]) for place in range(start, len(ids)))


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
@pytest.mark.parametrize("budget", [1, 100_000])
def test_likelihoods_equal_one_pass_for_each_continuation(saved, family, budget):
    with TransformersModel(id=str(saved(family)), token_budget=budget).opened() as model:
        for request, reply in zip(ASKED, model.loglikelihood(ASKED), strict=True):
            text = model._session.renderer.prompt(request.messages).text
            expected = [naive(model, text, continuation) for continuation in request.continuations]
            assert reply.values == pytest.approx(expected, rel=1e-5)
            assert reply.tokens == tuple(len(c) - c.count(" a") for c in request.continuations)


def test_a_space_at_the_prompts_end_belongs_to_the_continuations_first_token(saved):
    with TransformersModel(id=str(saved()), template="plain").opened() as model:
        end, start = model.loglikelihood(
            [
                LogLikelihood(messages=(user("Count: "),), continuations=("a",)),
                LogLikelihood(messages=(user("Count:"),), continuations=(" a",)),
            ]
        )
        assert end == start
        assert end.tokens == (1,)


def test_generation_and_scoring_share_one_stream(model):
    asked = [ASKED[0], Generate(messages=(user("Hi"),), max_tokens=4), ASKED[1]]
    likelihoods, output, more = model._replies(asked)
    assert likelihoods.values == pytest.approx(model.loglikelihood(ASKED)[0].values, rel=1e-5)
    assert output.tokens_out > 0
    assert more.tokens == (1, 1)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (LogLikelihood(messages=(user("Hi"),), continuations=()), "at least one continuation"),
        (LogLikelihood(messages=(user("Hi"),), continuations=("a", "")), "none of them empty"),
        (LogLikelihood(messages=(user("Hi"),), continuations=("x" * 200,)), "does not fit"),
    ],
)
def test_what_cannot_be_scored_is_an_error_beside_the_others(model, request_, said):
    broken, fine = model.loglikelihood([request_, ASKED[1]])
    assert said in broken.error
    assert broken.values == ()
    assert fine.error is None
