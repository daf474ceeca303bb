"""The opened model under edits: what is captured, ridden and generated, and that it is itself again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside

from deepsight_core import Prompt
from deepsight_core.edits import Ablate, Add, Patch
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Last, Want

Opened = Callable[..., TransformersInside]
VECTOR = np.random.default_rng(0).normal(size=32)


def prefilled(inside: TransformersInside, prompts: list[Prompt]) -> None:
    """Read the prompts as an adapter does: left padded, in one batch."""
    rows = [inside.renderer.prompt(prompt.messages).ids for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode(), inside.prefill(rows):
        inside.sites.model(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0))


def test_what_is_captured_is_of_the_edited_model(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside, last = opened(family), Want()
    found = inside.run([last], prompts, [Add(VECTOR, layers=(2,), dose={"p1": 2.0, "p4": -1.0})])
    doses = np.array([{"p1": 2.0, "p4": -1.0}.get(id, 0.0) for id in found.ids])
    difference = found[last] - inside.run([last], prompts)[last]
    assert np.allclose(difference[:, 2, 0], doses[:, None] * VECTOR, atol=1e-4)
    assert np.abs(difference[:, :2]).max() < 1e-5
    assert found.error < 1e-5


def test_patching_one_prompt_with_another_moves_the_end_of_its_text(opened: Opened, prompts: list[Prompt]) -> None:
    inside, last = opened("gpt2"), Want(positions=Last(k=2))
    states = inside.run([last], prompts[:2])[last]
    found = inside.run([last], prompts[:2], [Patch({"p0": states[1]}, positions=Last(k=2))])[last]
    assert np.array_equal(found[0, 2], states[1, 2])
    assert np.allclose(found[1], states[1], atol=1e-5)


def test_while_edited_everything_is(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    inside, last = opened(family), Want()
    edits = [Ablate(VECTOR, site) for site in ("resid_in", "resid_out")]
    expected, answers = inside.run([last], prompts, edits)[last], inside.generate(prompts[:3], 4, edits)
    plain = inside.run([last], prompts)[last]
    with inside.edited(edits):
        assert np.allclose(inside.run([last], prompts)[last], expected, atol=1e-5)
        assert inside.generate(prompts[:3], 4) == answers
    assert np.array_equal(inside.run([last], prompts)[last], plain)


def test_what_is_edited_is_neither_stored_nor_ridden(
    opened: Opened, prompts: list[Prompt], tmp_path: Path, count_hooks: Callable[[Any], int]
) -> None:
    inside, last, edit = opened("llama", store=tmp_path), Want(), Add(VECTOR, "embed")
    before = count_hooks(inside.sites.model)
    with inside.ride([last], prompts):
        with inside.edited([edit]):
            prefilled(inside, prompts)
            edited = inside.run([last], prompts)
        with pytest.raises(ZeroDivisionError), inside.edited([edit]):
            prefilled(inside, prompts)
            raise ZeroDivisionError
    assert edited.captured == {"computed": 10}
    assert inside.run([last], prompts, [edit]).captured == {"computed": 10}
    clean = inside.run([last], prompts)
    assert clean.captured == {"computed": 10}
    with inside.edited([edit]):
        assert inside.run([last], prompts).captured == {"computed": 10}
    assert inside.run([last], prompts).captured == {"store": 10}
    assert not np.allclose(clean[last], edited[last])
    assert count_hooks(inside.sites.model) == before


def test_edits_that_differ_between_prompts_are_refused_before_anything_is_edited(opened: Opened) -> None:
    inside = opened("llama")
    with pytest.raises(DiagnosticError, match="Add at resid_out differs between prompts"):
        inside.edited([Add(VECTOR, dose={"p0": 1.0})]).__enter__()


def test_blocks_below_all_edits_read_equal_texts_once(opened: Opened, prompts: list[Prompt]) -> None:
    inside, last = opened("llama"), Want(layers=(2,))
    same = [Prompt(id=str(n), messages=prompts[n % 2].messages) for n in range(12)]
    edit = Add(VECTOR, layers=(1,), dose={str(n): n - 6.0 for n in range(12)})
    rows: list[int] = []
    below = inside.sites.blocks[0].mlp.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    above = inside.sites.blocks[1].mlp.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    try:
        found = inside.run([last], same, [edit])
    finally:
        below.remove()
        above.remove()
    assert rows[rows.index(12) - 1] == 2
    assert found.error < 1e-5
    for prompt, row in zip(same, found[last], strict=True):
        assert np.allclose(row, inside.run([last], [prompt], [edit])[last][0], atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3-moe"])
def test_rows_that_part_at_their_last_token_share_what_comes_before(
    opened: Opened, family: str, prompts: list[Prompt]
) -> None:
    inside, want, numbers = opened(family), Want(site="final"), np.random.default_rng(0)
    rows = [Prompt(id=f"r{n}", messages=prompts[0].messages) for n in range(12)]
    patch = Patch({row.id: numbers.normal(size=(1, 1, 32)) for row in rows}, layers=(1,))
    columns: list[tuple[int, int]] = []
    handle = inside.sites.tap("embed", None).register(lambda tensor: columns.append(tuple(tensor.shape[:2])))
    try:
        acts = inside.run([want], rows, [patch])
    finally:
        handle.remove()
    if inside.sites.shares_prefix:
        assert columns[:2] == [(1, acts.lengths["prompt"][0] - 1), (12, 1)]
    assert acts.error is not None and acts.error < 1e-4
    for row, prompt in enumerate(rows):
        alone = inside.run([want], [prompt], [patch])[want][0]
        np.testing.assert_allclose(acts[want][row], alone, atol=1e-4 * np.abs(alone).max())
