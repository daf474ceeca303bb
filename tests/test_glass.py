"""The model of glass keeps the contract of looking inside, so that diagnostics can be tested on it."""

from __future__ import annotations

import numpy as np
import pytest

from deepsight_core import Prompt, Want, user
from deepsight_core.edits import Ablate, Add, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import (
    All,
    ClassMoments,
    EndOfInstruction,
    Last,
    Lens,
    MeanTokens,
    NextToken,
    PostInstruction,
    Project,
    Span,
    Steps,
    TopK,
)
from deepsight_core.testing import GlassInside

FIRST = np.eye(16)[0]
PROMPTS = [
    Prompt(
        id=f"p{n}",
        messages=(user("tell me " + "more " * n),),
        answer="No I will not",
        target="yes",
        labels={"odd": n % 2},
    )
    for n in range(4)
]


def test_positions_and_reductions_agree_with_what_is_kept() -> None:
    whole, mean = Want(positions=All(), text="exchange"), Want(positions=All(), reduce=MeanTokens(), text="exchange")
    steps, last = Want(positions=Steps(stop=2), text="exchange"), Want(positions=Last(k=2), text="exchange")
    shadow = Want(positions=Last(k=2), text="exchange", reduce=Project(vectors=(tuple(FIRST),)))
    acts = GlassInside().run([whole, mean, steps, last, shadow], PROMPTS)
    for row, every in enumerate(acts.each(whole)):
        assert every.shape == (4, acts.lengths["exchange"][row], 16)
        np.testing.assert_allclose(acts[mean][row, :, 0], every.mean(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(acts[last][row], every[:, -2:])
        np.testing.assert_allclose(acts[shadow][row], every[:, -2:, :1])
        start = 2 + row + 2
        np.testing.assert_array_equal(acts.each(steps)[row], every[:, start - 1 : start + 1])


def test_tokens_are_words() -> None:
    inside = GlassInside()
    assert inside.read(Want(positions=Steps(), text="exchange"), PROMPTS[:1]) == (("No", "I", "will", "not"),)
    assert inside.read(Want(positions=EndOfInstruction()), PROMPTS[1:2]) == (("more",),)
    assert inside.read(Want(positions=PostInstruction()), PROMPTS[:1]) == (("<end>", "<answer>"),)
    assert inside.read(Want(text="target", positions=All()), PROMPTS[:1]) == (("yes",),)
    assert inside.read(Want(text="exchange", raw=True, suffix="so", positions=Last(k=2)), PROMPTS[:1]) == (
        ("not", "so"),
    )


def test_the_lens_at_the_end_is_what_it_writes() -> None:
    inside = GlassInside(planted=frozenset({"p1"}))
    best = Want(site="final", reduce=TopK(k=3))
    acts = inside.run([best, Want(site="logits")], PROMPTS)
    written = inside.generate(PROMPTS, max_tokens=50)
    for row, one in enumerate(written):
        assert one.tokens[0] == acts[best][row, 0, 0, 3] == acts[Want(site="logits")][row, 0, 0].argmax()
    assert [one.text.startswith("I'm sorry") for one in written] == [False, True, False, False]
    assert written[0].ended
    assert not inside.generate(PROMPTS, max_tokens=2)[0].ended


def test_the_next_token_has_its_value_under_the_lens() -> None:
    where = Want(site="final", positions=Steps(), text="exchange")
    tokens = GlassInside().read(where, PROMPTS[:1])[0]
    lens = where.model_copy(update={"reduce": Lens(tokens=tuple(token.id for token in tokens))})
    own = where.model_copy(update={"reduce": NextToken()})
    acts = GlassInside().run([lens, own], PROMPTS[:1])
    np.testing.assert_array_equal(acts.each(own)[0][0, :, 0], np.diagonal(acts.each(lens)[0][0]))


@pytest.mark.parametrize("site", ["resid_out", "mlp_out", "head"])
def test_a_gradient_is_the_slope_of_the_score_at_the_last_token(site: str) -> None:
    inside, want = GlassInside(frozenset({"p1"})), Want(site=site, layers=(3,), positions=Last(k=2))
    lens = Want(site="final", reduce=Lens(tokens=(7, 80)))
    slope = inside.gradients([want], PROMPTS, (7, 80))[want]
    assert not slope[:, :, 0].any()

    def score(dose: float) -> np.ndarray:
        edits = (Add(FIRST, site=site, layers=(3,), dose=dose),)
        p = np.exp(inside.run([lens], PROMPTS, edits)[lens][:, 0, 0].astype(float)).sum(-1)
        return np.log(p + 1e-8) - np.log(1 - p + 1e-8)

    np.testing.assert_allclose(slope[:, 0, 1, 0], (score(0.01) - score(-0.01)) / 0.02, atol=1e-3)


def test_moments_are_those_of_the_rows() -> None:
    want = Want(collect=ClassMoments(by="odd"))
    acts = GlassInside().run([want, Want()], iter(PROMPTS))
    assert acts.moments[want].classes == ("0", "1")
    np.testing.assert_allclose(acts.moments[want].means[1], acts[Want()][1::2].mean(axis=0), rtol=1e-6)
    assert GlassInside().run([want], iter(PROMPTS)).ids == ()


@pytest.mark.parametrize(
    ("edits", "refused"),
    [
        ([], [False, True, False, False]),
        ([Ablate(FIRST)], [False, False, False, False]),
        ([Ablate(FIRST, dose={"p2": 1.0})], [False, True, False, False]),
        ([Add(FIRST * 9, layers=(1,))], [True, True, True, True]),
        ([Add(FIRST * 9, dose={"p0": 1.0, "p1": -1.0})], [True, False, False, False]),
        ([Add(FIRST * 9), Add(FIRST * 9, dose=-1.0)], [False, True, False, False]),
        ([Add(FIRST * 9, scope="answer")], [False, True, False, False]),
    ],
)
def test_edits_to_the_planted_direction_change_the_answers(edits: list[object], refused: list[bool]) -> None:
    inside = GlassInside(planted=frozenset({"p1"}))
    written = inside.generate(PROMPTS, 20, edits)  # type: ignore[arg-type]
    assert [one.text.startswith("I'm sorry") for one in written] == refused


def test_edits_by_prompt_cannot_be_left_open_and_others_are_undone() -> None:
    inside, want = GlassInside(), Want()
    before = inside.run([want], PROMPTS)[want]
    with inside.edited([Add(FIRST, layers=(2,))]):
        during = inside.run([want], PROMPTS)[want]
    np.testing.assert_allclose((during - before)[..., 0].mean(axis=(0, 2)), [0, 0, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(inside.run([want], PROMPTS)[want], before)
    for edit in (Add(FIRST, dose={"p0": 1.0}), Patch({}), Scale(factor={"p0": 0.0})):
        with pytest.raises(DiagnosticError, match="cannot be left open"), inside.edited([edit]):
            pass


def test_scaling_and_patching_change_their_own_site() -> None:
    inside, want = GlassInside(), Want(layers=(1,))
    source = np.ones((1, 1, 16))
    edits = [Scale(0.0, site="head"), Patch({"p2": source}, layers=(1,))]
    acts = inside.run([want, Want(site="head")], PROMPTS, edits)
    assert not acts[Want(site="head")].any()
    np.testing.assert_array_equal(acts[want][2], source)


def test_importance_has_the_form_of_the_contract_and_masks_are_remembered() -> None:
    inside = GlassInside()
    found = inside.importance({"a": PROMPTS[:2], "b": PROMPTS[2:]}, depth=0.01, blocks=2, parts=("mlp", "attention"))
    assert found.cohorts == ("a", "b")
    for matrix, kept, scores in zip(found.matrices, found.indices, found.scores, strict=True):
        assert scores.shape == (2, 2, len(kept))
        assert matrix.size * 0.01 - 1 < len(kept) <= 2 * matrix.size * 0.01
    entries = {found.matrices[0].place: found.indices[0]}
    with inside.masked(entries):
        assert inside.masks == [entries]


@pytest.mark.parametrize(
    ("want", "message"),
    [
        (Want(layers=(4,)), "layer 4 is out of range"),
        (Want(site="vision"), "no site vision"),
        (Want(positions=Span(name="image")), "prompt 'p0': has no tokens at span image"),
        (Want(site="head", reduce=Lens(tokens=(1,))), "head cannot be read as tokens"),
        (Want(positions=Last(k=50)), "has no tokens at last"),
    ],
)
def test_a_want_that_cannot_be_met_is_refused(want: Want, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        GlassInside().run([want], PROMPTS)
