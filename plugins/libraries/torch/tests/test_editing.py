"""Edits: what they do is what their formula says, and where they do nothing the model is as it was, to the bit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.editing import Editing
from deepsight_torch.forward import decode
from deepsight_torch.rendering import Rendered
from deepsight_torch.sites import Place, Sites
from deepsight_torch.tensors import evaluating

from deepsight_core.edits import Ablate, Add, Edit, Patch, Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import All, Last

Opened = Callable[..., TransformersInside]
States = Mapping[Place, np.ndarray]

TEXTS = ([5, 9, 40, 77, 31, 8, 120], [6, 60, 99, 12], [70, 71, 72, 73, 74])
IDS = ("a", "b", "c")
WIDTH = 32


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def read(
    sites: Sites, texts: Sequence[Sequence[int]] = TEXTS, around: AbstractContextManager[Any] | None = None
) -> States:
    """What passes at every site, (rows, tokens, width) by site and layer, on right-padded texts."""
    seen: dict[Place, np.ndarray] = {}
    ids = torch.tensor([[*text, *[text[-1]] * (max(map(len, texts)) - len(text))] for text in texts])

    def look(place: Place) -> Callable[[Any], None]:
        tap = sites.tap(*place)
        return lambda x: seen.update({place: (x.float() * tap.scale).reshape(len(texts), -1, tap.width).numpy().copy()})

    with evaluating(sites.model), around or nullcontext(), ExitStack() as stack:
        for place in sites.taps:
            if place[0] in ("embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron"):
                stack.callback(sites.tap(*place).register(look(place)).remove)
        decode(sites.decoder, ids)
    return seen


def edited(
    sites: Sites,
    *edits: Edit,
    texts: Sequence[Sequence[int]] = TEXTS,
    ids: Sequence[str] = IDS,
    answers: Sequence[int] | None = None,
) -> States:
    editing = Editing(sites, edits)
    for id, text in zip(ids, texts, strict=True):
        editing.locate(id, Rendered(tuple(text), "", {}, None))
    lengths = [len(text) for text in texts]
    return read(sites, texts, editing.batch(ids, [0] * len(texts), lengths, answers or lengths))


def end(sites: Sites) -> Place:
    return "resid_out", len(sites.blocks) - 1


def off(one: np.ndarray, other: np.ndarray, texts: Sequence[Sequence[int]] = TEXTS) -> float:
    """Largest relative difference over the texts, padding aside."""
    return max(
        float(np.linalg.norm(a[: len(text)] - b[: len(text)]) / max(np.linalg.norm(b[: len(text)]), 1e-30))
        for a, b, text in zip(one, other, texts, strict=True)
    )


def sites_of(opened: Opened, family: str) -> Sites:
    return opened(family).sites


def test_adding_a_vector_shifts_the_stream_by_it(opened: Opened, family: str) -> None:
    sites, vector = sites_of(opened, family), random(WIDTH)
    clean, shifted = read(sites), edited(sites, Add(vector, layers=(0,), dose=2.0))
    assert off(shifted["resid_in", 1], clean["resid_in", 1] + 2 * vector) < 1e-5
    assert off(shifted["resid_in", 0], clean["resid_in", 0]) == 0


@pytest.mark.parametrize("site", ["embed", "resid_in", "attn_out", "mlp_out", "resid_out"])
def test_adding_and_taking_away_again_changes_nothing(opened: Opened, family: str, site: Any) -> None:
    sites, vector = sites_of(opened, family), 0.1 * random(WIDTH)
    if not sites.layers(site):
        pytest.skip(f"{family} has no {site}")
    back = edited(sites, Add(vector, site), Add(vector, site, dose=-1.0))
    assert off(back[end(sites)], read(sites)[end(sites)]) < 1e-6


def test_a_text_patched_with_itself_is_unchanged_to_the_bit(opened: Opened, family: str) -> None:
    sites = sites_of(opened, family)
    clean = read(sites)
    for site in ("embed", "resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head", "neuron"):
        if not (places := [place for place in clean if place[0] == site]):
            continue
        source = {
            id: np.stack([clean[place][row, : len(text)] for place in places])
            for row, (id, text) in enumerate(zip(IDS, TEXTS, strict=True))
        }
        patched = edited(sites, Patch(source, site, positions=All()))
        assert off(patched[end(sites)], clean[end(sites)]) == 0, site


def test_patching_every_token_of_the_embeddings_makes_it_the_other_text(opened: Opened, family: str) -> None:
    sites, other = sites_of(opened, family), ([9, 8, 7, 6, 5, 4, 3],)
    target = read(sites, other)
    patched = edited(sites, Patch({"a": target["embed", None][:1]}, "embed", None, All()), texts=TEXTS[:1], ids=IDS[:1])
    assert off(patched[end(sites)], target[end(sites)], other) < 1e-6


def test_what_is_ablated_from_all_that_writes_is_gone_from_the_stream(opened: Opened, family: str) -> None:
    sites, directions = sites_of(opened, family), random(2, WIDTH)
    if not sites.layers("attn_out"):
        pytest.skip(f"in {family} no block's writers are known")
    written = [Ablate(directions, site) for site in ("attn_out", "mlp_out")]
    found = edited(sites, Ablate(directions, "resid_in", (0,)), *written)
    for kind, layer in found:
        if kind in ("resid_mid", "resid_out") and sites.layers("attn_out") == sites.layers("resid_out"):
            left = found[kind, layer] @ directions.T
            size = np.linalg.norm(found[kind, layer], axis=-1, keepdims=True) * np.linalg.norm(directions, axis=-1)
            assert max(np.abs(left / size)[row, : len(text)].max() for row, text in enumerate(TEXTS)) < 1e-5


def test_an_ablation_in_part_leaves_the_rest(opened: Opened) -> None:
    sites, direction, mean = sites_of(opened, "llama"), random(WIDTH), random(WIDTH) + 1
    unit = direction / np.linalg.norm(direction)
    clean = read(sites)["resid_out", 1]
    found = edited(sites, Ablate(3 * direction, layers=(1,), towards=mean, dose=0.25))["resid_out", 1]
    assert off(found, clean - 0.25 * ((clean - mean) @ unit)[..., None] * unit) < 1e-6


def test_silenced_heads_are_columns_of_zeros_before_the_projection(opened: Opened, family: str) -> None:
    sites = sites_of(opened, family)
    layers = sites.layers("head")
    if not layers:
        pytest.skip(f"{family} has no heads")
    layer = layers[0]
    tap = sites.tap("head", layer)
    size = tap.width // sites.heads

    def zeroed(module: Any, args: Any) -> Any:
        x = args[0].clone()
        x[..., size : 2 * size] = 0
        return (x,)

    handle = tap.module.register_forward_pre_hook(zeroed)
    expected = read(sites)[end(sites)]
    handle.remove()
    found = edited(sites, Scale(0.0, "head", (layer,), units=(1,)))
    assert off(found[end(sites)], expected) == 0


def test_a_factor_of_one_and_a_dose_of_nothing_change_nothing(opened: Opened, family: str) -> None:
    sites, vector = sites_of(opened, family), random(WIDTH)
    idle = [Add(vector, dose=0.0), Ablate(vector, dose=0.0), Scale(1.0, "resid_out", towards=vector)]
    assert off(edited(sites, *idle)[end(sites)], read(sites)[end(sites)]) == 0


def test_neurons_are_scaled_towards_their_mean(opened: Opened) -> None:
    sites, mean = sites_of(opened, "gpt2"), random(128)
    clean = read(sites)["neuron", 1]
    found = edited(sites, Scale(0.0, "neuron", (1,), (3, 100), mean))["neuron", 1]
    assert np.allclose(found[0, :, [3, 100]], mean[[3, 100], None])
    rest = np.setdiff1d(np.arange(128), [3, 100])
    assert np.array_equal(found[0][:, rest], clean[0][:, rest])


def test_editing_the_middle_of_a_block_reaches_the_stream(opened: Opened, family: str) -> None:
    sites, vector = sites_of(opened, family), random(WIDTH)
    if not sites.layers("resid_mid"):
        pytest.skip(f"{family} has no resid_mid")
    layers = sites.layers("resid_mid")[:1]
    middle, attention = (edited(sites, Add(vector, site, layers)) for site in ("resid_mid", "attn_out"))
    assert off(middle[end(sites)], attention[end(sites)]) < 1e-5


def test_edits_of_one_site_are_made_in_the_order_given(opened: Opened) -> None:
    sites, vector = sites_of(opened, "llama"), random(WIDTH)
    clean = read(sites)["resid_out", 0]
    shift, double = Add(vector, layers=(0,)), Scale(2.0, "resid_out", (0,))
    assert off(edited(sites, shift, double)["resid_out", 0], 2 * (clean + vector)) < 1e-6
    assert off(edited(sites, double, shift)["resid_out", 0], 2 * clean + vector) < 1e-6


def test_doses_of_many_rows_in_one_batch_are_those_of_single_runs(opened: Opened, family: str) -> None:
    sites, vector = sites_of(opened, family), random(WIDTH)
    doses, silenced = {"a": 1.5, "c": -2.0}, {"b": (0, 3), "c": (2,)}
    heads = sites.layers("head")
    edits: list[Edit] = [Add(vector, "embed", dose=doses), Ablate(vector, "mlp_out", dose=doses)]
    edits += [Scale(0.0, "head", units=silenced)] if heads else []
    edits = [edit for edit in edits if sites.layers(edit.site)]
    together = edited(sites, *edits)
    for row, (id, text) in enumerate(zip(IDS, TEXTS, strict=True)):
        alone = edited(sites, *edits, texts=(text,), ids=(id,))
        assert off(together[end(sites)][row : row + 1], alone[end(sites)], (text,)) < 1e-5


def test_rows_that_are_not_named_stay_as_they_are(opened: Opened) -> None:
    sites, vector = sites_of(opened, "llama"), random(WIDTH)
    found = edited(sites, Add(vector, dose={"b": 3.0}), Scale({"b": 0.0}, "neuron"))[end(sites)]
    clean = read(sites)[end(sites)]
    assert np.array_equal(found[0], clean[0])
    assert not np.allclose(found[1], clean[1])


def test_edits_may_share_doses(opened: Opened) -> None:
    sites, doses = sites_of(opened, "llama"), {"a": 3.0}
    found = edited(sites, Add(random(WIDTH), layers=(0,), dose=doses), Scale(doses, "resid_out", (1,)))
    clean = read(sites)
    assert np.array_equal(found[end(sites)][1:], clean[end(sites)][1:])  # neither moved nor scaled without a dose
    assert not np.allclose(found[end(sites)][0], clean[end(sites)][0])


def test_edits_may_share_units(opened: Opened) -> None:
    sites, units = sites_of(opened, "llama"), (1,)
    found = edited(sites, Scale(0.0, "head", (1,), units), Scale(0.0, "neuron", (1,), units))
    assert not found["head", 1][0, :, 8:16].any()
    assert not found["neuron", 1][0, :, 1].any()
    assert found["neuron", 1][0, :, 2:].all()


def test_a_scope_ends_where_the_answer_begins(opened: Opened) -> None:
    sites, vector, answers = sites_of(opened, "llama"), random(WIDTH), (4, 4, 2)
    clean = read(sites)["resid_out", 1]
    prompt, answer = (
        edited(sites, Add(vector, layers=(1,), scope=scope), answers=answers)["resid_out", 1] - clean
        for scope in ("prompt", "answer")
    )
    for row, (text, begins) in enumerate(zip(TEXTS, answers, strict=True)):
        assert np.abs(prompt[row, begins:]).max() == np.abs(answer[row, :begins]).max(initial=0) == 0
        assert np.allclose(prompt[row, :begins], vector, atol=1e-5)
        assert np.allclose(answer[row, begins : len(text)], vector, atol=1e-5)
        assert np.abs(answer[row, len(text) :]).max(initial=0) == 0  # padding


def test_a_patch_touches_its_positions_and_units_alone(opened: Opened) -> None:
    sites, source = sites_of(opened, "llama"), random(1, 2, WIDTH)
    clean = read(sites)["head", 1]
    found = edited(sites, Patch({"c": source}, "head", (1,), Last(k=2), units=(2,)))["head", 1]
    expected = clean.copy()
    expected[2, 3:5, 16:24] = source[0][:, 16:24]
    assert np.array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("family", ["mixtral", "qwen3-moe", "glm4-moe", "gpt-oss", "qwen3-next"])
def test_a_silenced_expert_contributes_nothing_while_routing_stays(opened: Opened, family: str) -> None:
    sites = sites_of(opened, family)
    layer = sites.layers("router")[0]
    experts = sites.experts(int(layer or 0))
    found = edited(sites, *(Scale(0.0, "router", (layer,), units=(n,)) for n in range(1, experts.count)))
    weights = [getattr(experts.module, name) for name in experts.parameters]
    saved = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight[1:] = 0
    try:
        expected = read(sites)
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, saved, strict=True):
                weight.copy_(old)
    assert off(found["mlp_out", layer], expected["mlp_out", layer]) < 1e-6
    assert off(found["mlp_out", layer], read(sites)["mlp_out", layer]) > 1e-3


def test_experts_are_scaled_row_by_row(opened: Opened) -> None:
    sites = sites_of(opened, "mixtral")
    edit = Scale(0.0, "router", units={"a": (0, 1), "c": (2,)})
    together = edited(sites, edit)
    for row, (id, text) in enumerate(zip(IDS, TEXTS, strict=True)):
        alone = edited(sites, edit, texts=(text,), ids=(id,))
        assert off(together[end(sites)][row : row + 1], alone[end(sites)], (text,)) < 1e-5
    assert np.array_equal(together[end(sites)][1], read(sites)[end(sites)][1])


def test_sixteen_bits_are_edited_in_thirty_two(make: Callable[..., Any], tokenizer: Any) -> None:
    sites = TransformersInside(make("llama", torch.bfloat16), tokenizer, digest="").sites
    vector = 1e-3 * random(WIDTH)  # below the rounding of a bfloat16 of the stream's size, added eight times
    clean = read(sites)["resid_out", 0]
    found = edited(sites, *(Add(vector, layers=(0,)) for _ in range(8)))["resid_out", 0]
    assert off(found, clean + 8 * vector) < 4e-3
    assert off(edited(sites, Add(vector, dose=0.0))[end(sites)], read(sites)[end(sites)]) == 0


def test_nothing_is_left_behind(opened: Opened, count_hooks: Callable[[Any], int]) -> None:
    inside = opened("llama")
    edits = [Add(random(WIDTH), "resid_mid"), Scale(site="head"), Ablate(random(WIDTH), "embed")]
    clean, before = read(inside.sites)[end(inside.sites)], count_hooks(inside.sites.model)
    editing = Editing(inside.sites, edits)
    with editing.everywhere():
        assert count_hooks(inside.sites.model) > before
    with pytest.raises(KeyboardInterrupt), editing.batch(["a"], [0], [3], [3]):
        raise KeyboardInterrupt
    assert count_hooks(inside.sites.model) == before
    assert np.array_equal(read(inside.sites)[end(inside.sites)], clean)


def test_a_batch_of_another_thread_is_not_edited(opened: Opened) -> None:
    sites = sites_of(opened, "gpt2")
    clean = read(sites)[end(sites)]
    found: list[np.ndarray] = []
    lengths = [len(text) for text in TEXTS]
    with Editing(sites, [Add(random(WIDTH))]).batch(IDS, [0] * 3, lengths, lengths):
        thread = threading.Thread(target=lambda: found.append(read(sites)[end(sites)]))
        thread.start()
        thread.join()
    assert np.array_equal(found[0], clean)


@pytest.mark.parametrize("family", ["llama", "opt", "granite"])
def test_everywhere_is_what_a_batch_gives_in_every_thread(opened: Opened, family: str) -> None:
    sites, vector = sites_of(opened, family), random(WIDTH)
    edits = [Add(vector, "attn_out", scope="prompt"), Add(vector, "embed", scope="answer"), Scale(0.5, "neuron")]
    expected = edited(sites, *edits)[end(sites)]
    found: list[np.ndarray] = []
    with Editing(sites, edits).everywhere():
        thread = threading.Thread(target=lambda: found.append(read(sites)[end(sites)]))
        thread.start()
        thread.join()
    assert off(found[0], expected) < 1e-6


def test_edits_that_differ_between_prompts_cannot_be_everywhere(opened: Opened) -> None:
    sites = sites_of(opened, "llama")
    for edit in (
        Add(random(WIDTH), dose={"a": 1.0}),
        Scale(units={"a": (1,)}),
        Patch({"a": random(3, 1, WIDTH)}),
    ):
        editing = Editing(sites, [edit])
        assert not editing.uniform
        with pytest.raises(DiagnosticError, match="differs between prompts"), editing.everywhere():
            pass


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Add(random(31)), r"Add at resid_out: vector has shape \(3, 31\), but \(3, 32\) is needed"),
        (Add(random(2, WIDTH)), r"vector has shape \(2, 32\)"),
        (Add(np.full(WIDTH, np.nan)), "vector holds NaN"),
        (Add(random(WIDTH), dose={"a": float("inf")}), "dose is inf"),
        (Add(random(WIDTH), layers=(3,)), "layer 3 is out of range"),
        (Add(random(WIDTH), layers=(1, 1)), "name each layer once"),
        (Add(random(WIDTH), layers=()), "name each layer once"),
        (Add(random(WIDTH), "logits"), "cannot be edited there"),
        (Add(random(WIDTH), "router"), "cannot be edited there"),
        (Scale(site="router"), "this model has no such site"),
        (Ablate(np.zeros(WIDTH)), "directions to ablate are all zero"),
        (Ablate(random(WIDTH), towards=random(3)), "towards has shape"),
        (Scale(units=(4,)), "unit 4 is out of range: there are units 0 to 3"),
        (Scale(units={"a": (-1,)}), "unit -1 is out of range"),
        (Patch({}), "source is empty"),
        (Patch({"a": random(2, 1, WIDTH)}), r"source of 'a' has shape \(2, 1, 32\), but \(3, 1, 32\) is needed"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_at_once(opened: Opened, edit: Edit, message: str) -> None:
    with pytest.raises(DiagnosticError, match=message):
        Editing(sites_of(opened, "llama"), [edit])


def test_a_patch_needs_as_many_positions_as_its_source(opened: Opened) -> None:
    editing = Editing(sites_of(opened, "llama"), [Patch({"a": random(3, 2, WIDTH)}, positions=Last(k=1))])
    with pytest.raises(DiagnosticError, match="has 2 positions, but its text has 1 at 'last'"):
        editing.locate("a", Rendered((1, 2, 3), "", {}, None))
    with pytest.raises(DiagnosticError, match="text of prompt 'a' is not known"), editing.batch(["a"], [0], [3], [3]):
        pass


def test_the_lowest_block_is_the_first_that_an_edit_changes(opened: Opened) -> None:
    sites = sites_of(opened, "llama")
    assert Editing(sites, [Add(random(WIDTH), layers=(2, 1)), Scale(layers=(2,))]).lowest == 1
    assert Editing(sites, [Add(random(WIDTH), "embed")]).lowest == 0
    assert Editing(sites, [Add(random(WIDTH), "final")]).lowest == 3


def test_rows_whose_doses_differ_share_nothing(opened: Opened) -> None:
    editing = Editing(opened("llama").sites, [Add(random(WIDTH), dose={"a": 1.0})])
    assert editing.parting(["a", "b"]) == 0
    assert Editing(opened("llama").sites, [Add(random(WIDTH))]).parting(["a"]) is None
