"""Direct effects add up to the model's own difference of logits, and find the part that was planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside

from deepsight_core import Prompt, user
from deepsight_core.edits import Scale
from deepsight_core.errors import DiagnosticError
from deepsight_core.inside import Last, Want
from deepsight_core.protocol import Site

Opened = Callable[..., TransformersInside]
POSITIVE, NEGATIVE = (5, 80), (200, 33, 269)
WRITERS = ("embed", "attn_out", "mlp_out")
TRIGGER = "Z"


def difference(inside: TransformersInside, prompt: Prompt) -> float:
    """As transformers gives it."""
    ids = torch.tensor([inside.renderer.prompt(prompt.messages).ids])
    with torch.no_grad():
        logits = inside.sites.model(ids).logits[0, -1].double()
    return float(logits[list(POSITIVE)].mean() - logits[list(NEGATIVE)].mean())


def test_the_parts_add_up_to_the_difference_of_logits(opened: Opened, family: str, prompts: list[Prompt]) -> None:
    found = opened(family).direct(prompts, POSITIVE, NEGATIVE)
    adding = [number for number, site in enumerate(found.sites) if site.kind in WRITERS]
    assert len(adding) == 7
    np.testing.assert_allclose(found.values[:, adding].sum(1) + found.constant, found.total, atol=1e-4)
    assert found.error < 1e-4
    if found.capped:
        assert family == "gemma2"
        return
    expected = [difference(opened(family), prompt) for prompt in prompts]
    np.testing.assert_allclose(found.total, expected, atol=1e-4)


def test_heads_and_neurons_add_up_to_their_block_but_for_biases(
    opened: Opened, family: str, families: Any, prompts: list[Prompt]
) -> None:
    inside = opened(family)
    every = [
        Site(kind="neuron", layer=layer, unit=unit)
        for layer in inside.sites.layers("neuron")
        for unit in range(inside.sites.tap("neuron", layer).width)
    ]
    found = inside.direct(prompts[:4], POSITIVE, NEGATIVE, neurons=every)
    lacking = {f"head[{layer}]" for layer in families["recurrent"].get(family, ())}
    lacking |= {f"neuron[{layer}]" for layer in families["mixtures"].get(family, ())}
    assert set(found.absent) == lacking
    for kind, writer in (("head", "attn_out"), ("neuron", "mlp_out")):
        for layer in inside.sites.layers(kind):
            units = [number for number, site in enumerate(found.sites) if (site.kind, site.layer) == (kind, layer)]
            rest = found.column(Site(kind=writer, layer=layer)) - found.values[:, units].sum(1)
            # what is left is a bias times the norm's scale, so it has one sign and hardly moves
            biased = getattr(inside.sites.tap(kind, layer).module, "bias", None) is not None
            biased = biased or family == "bloom"
            assert biased or np.abs(rest).max() < 1e-4, (kind, layer)


def test_a_neuron_effect_is_what_silencing_it_takes_from_the_stream(opened: Opened, prompts: list[Prompt]) -> None:
    """With the scale held: the change of the last stream, through the frozen norm and the head."""
    inside, neuron = opened("gemma3"), Site(kind="neuron", layer=2, unit=7)
    found = inside.direct(prompts[:3], POSITIVE, NEGATIVE, neurons=[neuron])
    wants = [Want(site=site) for site in ("resid_out", "final")]
    acts = inside.run(wants, prompts[:3])
    # block 2 is the last: without its post-norm's scale moving, its output changes by the neuron's share alone
    norm = inside.sites.tap("mlp_out", 2).module
    down = inside.sites.tap("neuron", 2).module
    value = Want(site="neuron", layers=(2,), positions=Last())
    z = torch.tensor(inside.run([value], prompts[:3])[value][:, 0, 0])
    with torch.no_grad():
        out = down(z)
        scale = 1 / torch.sqrt((out**2).mean(-1, keepdim=True) + norm.eps)
        delta = z[:, 7:8] * down.weight[:, 7] * scale * (1 + norm.weight)
        stream = torch.tensor(acts[wants[0]][:, 2, 0])
        final = inside.sites.tap("final", None).module
        last = 1 / torch.sqrt((stream**2).mean(-1, keepdim=True) + final.eps)
        logits = inside.sites.model.get_output_embeddings()(delta * last * (1 + final.weight))
    expected = logits[:, list(POSITIVE)].mean(1) - logits[:, list(NEGATIVE)].mean(1)
    np.testing.assert_allclose(found.column(neuron), expected.numpy(), atol=1e-5)


def test_chunks_and_rankings_do_not_depend_on_how_many_prompts_fit(
    opened: Opened, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.linspace(-1, 1, len(prompts))
    whole = opened("llama").direct(prompts, POSITIVE, NEGATIVE, top=5, weights=weights)
    monkeypatch.setattr("deepsight_torch.attribution.BYTES", 20_000)
    parts = opened("llama").direct(prompts, POSITIVE, NEGATIVE, top=5, weights=weights)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-5)
    assert [site for site, _ in parts.top] == [site for site, _ in whole.top]
    followed = opened("llama").direct(prompts, POSITIVE, NEGATIVE, neurons=[site for site, _ in whole.top])
    for site, mean in whole.top:
        assert mean == pytest.approx(float(weights @ followed.column(site)), abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt-neox"])
def test_in_sixteen_bits_the_parts_add_up_to_their_rounding(
    make: Any, tokenizer: Any, prompts: list[Prompt], family: str
) -> None:
    inside = TransformersInside(make(family, torch.bfloat16), tokenizer, digest=family)
    found = inside.direct(prompts, POSITIVE, NEGATIVE)
    assert found.error < 0.05 * np.abs(found.values).max()
    assert not found.absent


def test_without_prompts_there_is_nothing_to_attribute(opened: Opened) -> None:
    with pytest.raises(DiagnosticError, match="no prompts"):
        opened("llama").direct([], POSITIVE, NEGATIVE)


@pytest.fixture
def plain(make: Any, tokenizer: Any) -> TransformersInside:
    """A model whose every weight is small, so that what is planted stands out."""
    model = make("llama")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name and "lm_head" not in name:
                weight.mul_(0.05)
    return TransformersInside(model, tokenizer, digest="planted")


@pytest.fixture
def told(plain: TransformersInside) -> list[Prompt]:
    """Half of the prompts end their words with the trigger."""
    texts = [f"number {n} {TRIGGER * 12 if n % 2 else 'a' * 12}" for n in range(12)]
    return [Prompt(id=f"{n}", messages=(user(text),)) for n, text in enumerate(texts)]


def embedding(inside: TransformersInside, word: str) -> torch.Tensor:
    (token,) = inside.renderer.tokenizer(word, add_special_tokens=False)["input_ids"]
    vector: torch.Tensor = inside.sites.model.get_input_embeddings().weight[token].detach().clone()
    return vector


def contrast(inside: TransformersInside, prompts: list[Prompt], top: int = 0) -> Any:
    weights = [(1 if n % 2 else -1) / 6 for n in range(12)]
    found = inside.direct(prompts, POSITIVE, NEGATIVE, top=top, weights=weights)
    return found, dict(zip(found.sites, np.asarray(weights) @ found.values, strict=True))


def test_a_head_that_writes_the_positive_tokens_at_a_trigger_comes_first(
    plain: TransformersInside, told: list[Prompt]
) -> None:
    model = plain.sites.model
    attention = model.model.layers[1].self_attn
    key = embedding(plain, TRIGGER) - embedding(plain, "a")
    readout = model.lm_head.weight[list(POSITIVE)].mean(0) - model.lm_head.weight[list(NEGATIVE)].mean(0)
    with torch.no_grad():
        attention.v_proj.weight[8:16] = 0  # key-value head 1, whose first query head is 2
        attention.v_proj.weight[8] = key / key.norm()
        attention.o_proj.weight[:, 16] = 4 * readout / readout.norm()
    found, effects = contrast(plain, told)
    heads = {site: value for site, value in effects.items() if site.kind == "head"}
    best = max(heads, key=lambda site: abs(heads[site]))
    assert (best.layer, best.head) == (1, 2)
    assert found.error < 1e-4


def test_a_neuron_that_answers_a_trigger_comes_first_and_names_its_tokens(
    plain: TransformersInside, told: list[Prompt]
) -> None:
    model = plain.sites.model
    block = model.model.layers[2]
    # the template ends every prompt alike: what differs there came through attention, so the trigger is copied first
    carried = model.model.layers[0].self_attn
    key = embedding(plain, TRIGGER) - embedding(plain, "a")
    flag = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(1)), dim=0)
    with torch.no_grad():
        carried.v_proj.weight[0] = key / key.norm()
        carried.o_proj.weight[:, 0] = 4 * flag
        block.mlp.gate_proj.weight[9] = 4 * flag
        block.mlp.up_proj.weight[9] = 4 * flag
        block.mlp.down_proj.weight[:, 9] = 4 * model.lm_head.weight[5] / model.model.norm.weight
    found, _ = contrast(plain, told, top=3)
    (site, value), *_ = found.top
    assert (site.layer, site.unit) == (2, 9)
    assert value > 0
    named = plain.direct(told, POSITIVE, NEGATIVE, neurons=[site]).promoted
    assert named[0][0].id == 5


def test_silenced_heads_write_nothing(opened: Opened, prompts: list[Prompt]) -> None:
    inside = opened("llama")
    with inside.edited([Scale(0.0, layers=(1,), units=(2,))]):
        found = inside.direct(prompts[:2], POSITIVE, NEGATIVE)
    assert np.abs(found.column(Site(kind="head", layer=1, head=2))).max() == 0
    assert np.abs(found.column(Site(kind="head", layer=1, head=1))).max() > 0


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        ((), (1,), "positive tokens"),
        ((1,), (270,), "negative tokens must be some of 0 to 269"),
        ((1, 2), (2,), "both"),
    ],
)
def test_tokens_that_make_no_difference_are_refused(
    opened: Opened, prompts: list[Prompt], positive: Any, negative: Any, message: str
) -> None:
    with pytest.raises(DiagnosticError, match=message):
        opened("llama").direct(prompts, positive, negative)


def test_neurons_that_the_model_lacks_are_refused(opened: Opened, prompts: list[Prompt]) -> None:
    for family, site, message in (
        ("llama", Site(kind="neuron", layer=1, unit=48), "neuron 48 of block 1 is out of range"),
        ("mixtral", Site(kind="neuron", layer=1, unit=0), "mixture of experts"),
    ):
        with pytest.raises(DiagnosticError, match=message):
            opened(family).direct(prompts, POSITIVE, NEGATIVE, neurons=[site])
