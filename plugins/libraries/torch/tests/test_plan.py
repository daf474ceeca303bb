"""The plan: what fits together shares a pass, what cannot be met is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from deepsight_torch import TransformersInside
from deepsight_torch.collecting import Collector

from deepsight_core import Prompt, Want, system, user
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, ClassMoments, EndOfInstruction, Last, MeanTokens, Span, Steps, TopK

Opened = Callable[..., TransformersInside]
MEAN = MeanTokens()
LONG = Prompt(id="long", messages=(user("word " * 200),))


def test_wants_that_differ_in_layers_share_a_stream(opened: Opened, prompts: list[Prompt]) -> None:
    wants = [Want(layers=(0,)), Want(layers=(2, 1)), Want(site="attn_out"), Want(layers=(0,))]
    (only,) = opened("llama").plan(wants, prompts).passes
    assert [stream.layers for stream in only.streams] == [(0, 1, 2), (0, 1, 2)]


def test_a_truncation_that_cuts_nothing_off_shares_the_pass(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    assert len(inside.plan([Want(), Want(truncate=512)], prompts).passes) == 1
    assert len(inside.plan([Want(), Want(truncate=40)], prompts).passes) == 2


def test_a_truncated_text_ends_where_it_is_cut(opened: Opened) -> None:
    (only,) = opened("llama").plan([Want(truncate=40)], [LONG]).passes
    assert len(only.rows[0].ids) == 40
    assert only.rows[0].places == (range(39, 40),)


@pytest.mark.parametrize(
    ("want", "message"),
    [
        (Want(layers=(3,)), "layer 3 is out of range: this model has blocks 0 to 2"),
        (Want(layers=(-1,)), "layer -1 is out of range"),
        (Want(layers=()), "names no layer"),
        (Want(truncate=0), "truncate must be at least 1"),
        (Want(positions=Steps()), 'they need the text "exchange"'),
        (Want(positions=All(), collect=ClassMoments(by="harmful")), "moments over texts need a reduction"),
        (Want(positions=Span(name="image"), truncate=9), "prompt 'long': has no tokens at span image"),
        (Want(text="target"), "prompt 'long': has no reference answer"),
        (Want(text="exchange", suffix="!"), "prompt 'long': has no answer that the suffix could follow"),
        (Want(positions=Steps(), text="exchange", truncate=9), "prompt 'long': has no tokens at steps"),
        (Want(), r"prompt 'long': \d+ tokens exceed the context of 512"),
        (Want(truncate=10, positions=Last(k=11)), "prompt 'long': has 10 tokens, but its last 11 are wanted"),
        (Want(truncate=10, positions=EndOfInstruction()), "no tokens at end-of-instruction within its first 10"),
        (
            Want(positions=Span(name="response"), reduce=MEAN, truncate=9),
            "prompt 'long': has no tokens at span response",
        ),
    ],
)
def test_a_want_that_cannot_be_met_is_refused(opened: Opened, want: Want, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        opened("llama").run([want], [LONG])


def test_a_text_without_instruction_is_named(opened: Opened) -> None:
    silent = Prompt(id="silent", messages=(system("Be kind."),))
    with pytest.raises(DiagnosticError, match="prompt 'silent': has no user message"):
        opened("llama").run([Want(positions=EndOfInstruction())], [silent])


def test_more_memory_than_allowed_is_refused_before_anything_runs(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama", memory_limit=1000)
    with pytest.raises(DiagnosticError, match="raise memory_limit"):
        inside.run([Want()], prompts)


@pytest.mark.parametrize(
    "wants",
    [
        [Want(), Want(layers=(1,)), Want(positions=All(), reduce=MEAN)],
        [
            Want(positions=All()),
            Want(positions=All(), layers=(1,)),
            Want(site="neuron", positions=Steps(), text="exchange"),
        ],
        [Want(positions=All(), reduce=TopK(k=3)), Want(site="logits", positions=Last(k=4))],
        [Want(site="attn_prob", positions=All())],
    ],
)
def test_the_announced_bytes_cover_the_results_and_what_a_batch_holds(
    opened: Opened, prompts: list[Prompt], wants: list[Want], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, held = opened("llama", token_budget=150), [0]
    results = Collector.results

    def counted(self: Collector) -> Any:
        held.append(sum(kept.nbytes for kept in self._kept.values()))
        return results(self)

    monkeypatch.setattr(Collector, "results", counted)
    acts = inside.run(wants, prompts)
    kept = sum(array.nbytes for want in wants for array in acts.each(want)) + 2 * max(held)
    announced = inside.plan(wants, prompts).bytes
    assert kept <= announced <= 8 * kept


def test_no_prompts_and_no_wants_give_nothing(opened: Opened, prompts: list[Prompt]) -> None:
    inside: Any = opened("llama")
    assert inside.run([], prompts).arrays == {}
    empty = inside.run([Want()], [])
    assert empty[Want()].shape == (0, 3, 1, 32)
    assert empty.error is None
