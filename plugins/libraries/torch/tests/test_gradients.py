"""Gradients of the refusal score are the slopes that small changes of activations show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.preparation import EDITABLE

from deepsight_core import Prompt, Want, user
from deepsight_core.edits import Add, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, Last, Lens

Opened = Callable[..., TransformersInside]
TOKENS = (5, 80, 269)
STEP = 0.001
"""Change of the score at which slopes are measured."""


def score(inside: TransformersInside, prompts: list[Prompt], edits: Any = ()) -> np.ndarray:
    lens = Want(site="final", reduce=Lens(tokens=TOKENS))
    p = np.exp(inside.run([lens], prompts, edits)[lens][:, 0, 0].astype(np.float64)).sum(-1)
    return np.log(p + 1e-8) - np.log(1 - p + 1e-8)


def slopes(inside: TransformersInside, prompts: list[Prompt], want: Want, edits: Any = ()) -> Any:
    """The gradient's length, and the slope along it, as patches show it, of each prompt."""
    gradient = inside.gradients([want], prompts, TOKENS, edits)[want].astype(np.float64)
    values = inside.run([want], prompts, edits)[want].astype(np.float64)
    length = np.sqrt((gradient**2).sum((1, 2, 3)))
    ends = []
    for sign in (1, -1):
        moved = values + sign * STEP * gradient / length[:, None, None, None] ** 2
        source = {prompt.id: moved[row] for row, prompt in enumerate(prompts)}
        patch = Patch(source, site=want.site, layers=want.layers, positions=want.positions)
        ends.append(score(inside, prompts, (*edits, patch)))
    return length, (ends[0] - ends[1]) / (2 * STEP) * length


def test_a_gradient_is_the_slope_at_every_site(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside = opened(family)
    for site in EDITABLE:
        layers = inside.sites.layers(site)
        if not layers:
            continue
        named = None if layers == (None,) else (layers[len(layers) // 2],)
        length, slope = slopes(inside, prompts[:4], Want(site=site, layers=named, positions=Last(k=3)))
        np.testing.assert_allclose(slope, length, rtol=1e-2, err_msg=site)


def test_texts_of_any_length_share_a_batch(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    wants = [Want(), Want(site="embed"), Want(site="mlp_out", positions=All())]
    acts = opened(family).gradients(wants, prompts, TOKENS)
    assert acts.error < 1e-4
    for row in (0, 7):
        alone = opened(family).gradients(wants, prompts[row : row + 1], TOKENS)
        for want in wants:
            found, expected = acts.each(want)[row], alone.each(want)[0]
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_under_edits_it_is_the_slope_of_the_edited_model(opened: Opened, prompts: list[Prompt]) -> None:
    inside, axis = opened("llama"), np.ones(32)
    for edits in ((Add(axis, layers=(0,), dose={"p1": 3.0}),), (Scale(0.0, units={"p0": (1,), "p2": (3,)}),)):
        length, slope = slopes(inside, prompts[:3], Want(layers=(1,), positions=Last(k=2)), edits)
        np.testing.assert_allclose(slope, length, rtol=1e-2)


def test_what_is_silenced_still_has_a_gradient(opened: Opened, prompts: list[Prompt]) -> None:
    inside, want = opened("llama"), Want(site="head", layers=(1,))
    length, slope = slopes(inside, prompts[:3], want, (Scale(0.0, layers=(1,)),))
    np.testing.assert_allclose(slope, length, rtol=1e-2)


def test_a_small_memory_gives_the_same_in_smaller_batches(opened: Opened, prompts: list[Prompt]) -> None:
    whole = opened("llama").gradients([Want()], prompts, TOKENS)[Want()]
    small = opened("llama", memory_limit=1_500_000).gradients([Want()], prompts, TOKENS)[Want()]
    np.testing.assert_allclose(small, whole, atol=1e-5)


def test_a_text_beyond_the_memory_is_refused(opened: Opened) -> None:
    long = [Prompt(id="long", messages=(user("word " * 80),))]
    with pytest.raises(DiagnosticError, match=r"prompt 'long': gradients through its .* tokens need more than"):
        opened("llama", memory_limit=1_000_000).gradients([Want()], long, TOKENS)


def test_nothing_is_left_behind(opened: Opened, make: Any, prompts: list[Prompt], count_hooks: Any) -> None:
    inside = opened("llama")
    model = inside.sites.model
    before = count_hooks(model)
    kept = next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    try:
        inside.gradients([Want()], prompts, TOKENS)
        assert next(model.parameters()).grad is kept
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert count_hooks(model) == before
    finally:
        next(model.parameters()).grad = None


@pytest.mark.parametrize(
    ("want", "tokens", "message"),
    [
        (Want(site="logits"), TOKENS, "there is no gradient at logits"),
        (Want(reduce=Lens(tokens=(1,))), TOKENS, "want Keep"),
        (Want(text="exchange"), TOKENS, 'of the text "prompt"'),
        (Want(), (), "the score needs tokens"),
        (Want(), (270,), "tokens from 0 to 269"),
        (Want(layers=(9,)), TOKENS, "layer 9 is out of range"),
    ],
)
def test_what_has_no_gradient_is_refused(
    opened: Opened, prompts: list[Prompt], want: Want, tokens: Any, message: str
) -> None:
    with pytest.raises(DiagnosticError, match=message):
        opened("llama").gradients([want], prompts, tokens)
