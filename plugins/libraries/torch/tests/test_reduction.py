"""Reductions: what is made of activations on the device is what numpy makes of the activations that were kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside

from deepsight_core import Prompt, Want
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, ClassMoments, Last, Lens, MeanTokens, NextToken, Project, Span, Steps, TopK

Opened = Callable[..., TransformersInside]
TOKENS = (5, 80, 269)
HALF = tuple(0.5 if n % 2 else -1.0 for n in range(32))
AXIS = tuple(float(n == 7) for n in range(32))


def log_probabilities(inside: TransformersInside, prompts: list[Prompt], k: int) -> np.ndarray:
    """The model's own, of the last k tokens of each prompt alone: (prompts, k, vocabulary)."""
    found = []
    for prompt in prompts:
        ids = inside.renderer.prompt(prompt.messages).ids
        with torch.no_grad():
            found.append(inside.sites.model(torch.tensor([list(ids)])).logits[0, -k:].float().log_softmax(-1).numpy())
    return np.stack(found)


def test_the_lens_at_the_end_gives_the_models_own_log_probabilities(
    opened: Opened, family: str, prompts: list[Prompt]
) -> None:
    inside = opened(family)
    end = len(inside.sites.blocks) - 1
    block, final = (
        Want(site=site, layers=(end,), positions=Last(k=2), reduce=Lens(tokens=TOKENS))
        for site in ("resid_out", "final")
    )
    logits = Want(site="logits", positions=Last(k=2))
    acts = inside.run([block, final, logits], prompts)
    expected = log_probabilities(inside, prompts, 2)
    for want in (block, final):
        np.testing.assert_allclose(acts[want][:, 0], expected[..., list(TOKENS)], atol=1e-4)
    values = acts[logits][:, 0]
    shifted = values - np.log(np.exp(values.astype(np.float64)).sum(-1, keepdims=True))
    np.testing.assert_allclose(shifted, expected, atol=1e-4)
    assert acts.error < 1e-4


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite"])
@pytest.mark.parametrize("site", ["embed", "resid_in", "resid_mid", "resid_out", "final"])
def test_the_likeliest_tokens_have_the_lens_own_values(
    opened: Opened, prompts: list[Prompt], site: Any, family: str
) -> None:
    inside, best = opened(family), Want(site=site, reduce=TopK(k=4))
    every = Want(site=site, reduce=Lens(tokens=tuple(range(270))))
    acts = inside.run([best, every], prompts)
    values, tokens = np.split(acts[best], 2, axis=-1)
    assert (np.diff(values, axis=-1) <= 0).all()
    np.testing.assert_array_equal(values, np.take_along_axis(acts[every], tokens.astype(int), -1))
    np.testing.assert_array_equal(values[..., 0], acts[every].max(-1))
    np.testing.assert_allclose(np.exp(acts[every].astype(np.float64)).sum(-1), 1, atol=1e-5)


STEPS = Want(site="final", positions=Steps(), text="exchange", reduce=NextToken())


def test_less_its_mean_the_next_token_is_the_models_own_loss(
    opened: Opened, family: str, prompts: list[Prompt]
) -> None:
    inside = opened(family)
    end = STEPS.model_copy(update={"site": "resid_out", "layers": (len(inside.sites.blocks) - 1,)})
    acts = inside.run([STEPS, end], prompts)
    assert acts.error < 1e-4
    for row, prompt in enumerate(prompts):
        text = inside.renderer.exchange(prompt.messages, prompt.answer)
        ids = torch.tensor([text.ids[: text.spans["response"][1]]])
        labels = ids.clone()
        labels[0, : text.answer] = -100
        with torch.no_grad():
            loss = float(inside.sites.model(ids, labels=labels).loss)
        for want in (STEPS, end):
            assert -acts.each(want)[row].mean() == pytest.approx(loss, abs=1e-4)


def test_the_next_token_is_read_in_chunks(
    opened: Opened, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = opened("llama")
    whole = inside.run([STEPS], prompts).each(STEPS)
    monkeypatch.setattr("deepsight_torch.reduction.LOGITS", 270 * 7)
    for found, expected in zip(inside.run([STEPS], prompts).each(STEPS), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("where", [Last(k=3), All(), Span(name="user")])
def test_projections_are_scalar_products(opened: Opened, prompts: list[Prompt], where: Any) -> None:
    inside = opened("llama")
    whole = Want(site="attn_out", positions=where)
    projected = whole.model_copy(update={"reduce": Project(vectors=(HALF, AXIS))})
    acts = inside.run([whole, projected], prompts)
    assert acts.error < 1e-4
    for vectors, numbers in zip(acts.each(whole), acts.each(projected), strict=True):
        np.testing.assert_allclose(numbers, vectors @ np.array([HALF, AXIS], np.float32).T, rtol=1e-3, atol=1e-5)


def test_many_vectors_are_read_in_chunks(
    opened: Opened, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, want = opened("llama"), Want(positions=All(), reduce=TopK(k=2))
    whole = inside.run([want], prompts).each(want)
    monkeypatch.setattr("deepsight_torch.reduction.LOGITS", 270 * 7)
    for found, expected in zip(inside.run([want], prompts).each(want), whole, strict=True):
        np.testing.assert_allclose(found[..., :2], expected[..., :2], atol=1e-5)


def test_the_lens_hooks_nothing_that_a_want_sees(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    alone = inside.run([Want(site="final")], prompts)[Want(site="final")]
    acts = inside.run([Want(site="final"), Want(reduce=TopK(k=2)), Want(site="logits")], prompts)
    np.testing.assert_array_equal(acts[Want(site="final")], alone)


def test_a_mean_of_logits_is_the_mean_over_its_tokens(opened: Opened, prompts: list[Prompt]) -> None:
    inside, every = opened("llama"), Want(site="logits", positions=Span(name="user"))
    mean = every.model_copy(update={"reduce": MeanTokens()})
    acts = inside.run([every, mean], prompts)
    for row, logits in enumerate(acts.each(every)):
        np.testing.assert_allclose(acts[mean][row, 0, 0], logits[0].mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("want", "message"),
    [
        (Want(site="attn_out", reduce=TopK()), "attn_out cannot be read as tokens: the lens is for embed, "),
        (Want(site="logits", reduce=Lens(tokens=(1,))), "logits cannot be read as tokens"),
        (Want(reduce=Lens(tokens=(270,))), "token 270 is out of range: the vocabulary has tokens 0 to 269"),
        (Want(reduce=Lens(tokens=(-1,))), "token -1 is out of range"),
        (Want(reduce=TopK(k=271)), "271 likeliest tokens are wanted of a vocabulary of 270"),
        (Want(site="neuron", reduce=Project(vectors=(HALF,))), "has 32 coordinates, neuron has 48"),
        (Want(reduce=NextToken()), 'is for positions "steps"'),
        (STEPS.model_copy(update={"truncate": 9}), "not truncated"),
        (STEPS.model_copy(update={"site": "mlp_out"}), "mlp_out cannot be read as tokens"),
    ],
)
def test_a_reduction_that_cannot_be_done_is_refused(
    opened: Opened, prompts: list[Prompt], want: Want, message: str
) -> None:
    with pytest.raises(DiagnosticError, match=message):
        opened("llama").run([want], prompts)


def labelled(prompts: list[Prompt]) -> list[Prompt]:
    kinds = ("plain", "odd", None)
    return [
        prompt.model_copy(update={"labels": {} if kinds[n % 3] is None else {"kind": kinds[n % 3], "one": n == 4}})
        for n, prompt in enumerate(prompts)
    ]


def moments(by: str, **fields: Any) -> Want:
    return Want(collect=ClassMoments(by=by), **fields)


@pytest.mark.parametrize("fields", [{}, {"positions": Last(k=2)}, {"positions": All(), "reduce": MeanTokens()}])
def test_moments_are_those_of_the_rows(opened: Opened, prompts: list[Prompt], fields: Any) -> None:
    inside, rows, want = opened("llama"), labelled(prompts), moments("kind", **fields)
    kept = Want(**fields)
    found = inside.run([want], iter(rows)).moments[want]
    every = inside.run([kept], rows)[kept].astype(np.float64)
    assert found.classes == ("odd", "plain")
    assert found.means.dtype == np.float64
    for place, name in enumerate(found.classes):
        chosen = every[[row for row, prompt in enumerate(rows) if prompt.labels.get("kind") == name]]
        assert found.counts[place] == len(chosen)
        np.testing.assert_allclose(found.means[place], chosen.mean(axis=0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.variances[place], chosen.var(axis=0), rtol=1e-6, atol=1e-9)


def test_a_class_of_one_text_has_no_variance(opened: Opened, prompts: list[Prompt]) -> None:
    want = moments("one")
    found = opened("llama").run([want], labelled(prompts)).moments[want]
    assert dict(zip(found.classes, found.counts, strict=True)) == {"False": 6, "True": 1}
    assert not found.variances[1].any()


def test_moments_do_not_depend_on_order_or_on_who_else_asks(opened: Opened, prompts: list[Prompt]) -> None:
    inside, rows, want = opened("llama"), labelled(prompts), moments("kind", layers=(2, 0))
    alone, mixed = inside.run([want], rows), inside.run([Want(), want], rows[::-1])
    assert (alone.ids, alone.lengths) == ((), {})
    assert len(mixed.ids) == mixed[Want()].shape[0] == 10
    assert alone.layers[want] == (2, 0)
    for name in ("counts", "means", "variances"):
        one, other = (getattr(acts.moments[want], name) for acts in (alone, mixed))
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_equal_texts_count_once_each_in_their_own_class(opened: Opened, prompts: list[Prompt]) -> None:
    want = moments("kind")
    twins = [Prompt(id=kind, messages=prompts[0].messages, labels={"kind": kind}) for kind in ("a", "b", "b")]
    twins[2] = twins[2].model_copy(update={"id": "c"})
    found = opened("llama").run([want], twins).moments[want]
    np.testing.assert_array_equal(found.counts, [1, 2])
    np.testing.assert_array_equal(found.means[0], found.means[1])


def test_nobody_in_a_class_gives_no_class(opened: Opened, prompts: list[Prompt]) -> None:
    want = moments("unheard of")
    found = opened("llama").run([want], prompts).moments[want]
    assert (found.classes, found.means.shape) == ((), (0, 3, 1, 32))


def test_moments_of_a_stream_hold_no_more_than_a_chunk(
    opened: Opened, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepsight_torch.inside.STREAMED", 4)
    inside, want, alive, most = opened("llama"), moments("kind"), [0], 0

    class Counted(Prompt):
        def __del__(self) -> None:
            alive[0] -= 1

    def stream() -> Any:
        nonlocal most
        for n in range(40):
            alive[0] += 1
            most = max(most, alive[0])
            yield Counted(id=f"{n}", messages=prompts[n % 10].messages, labels={"kind": "x"})

    found = inside.run([want], stream()).moments[want]
    assert found.counts == [40]
    assert most <= 2 * 4 + 1
