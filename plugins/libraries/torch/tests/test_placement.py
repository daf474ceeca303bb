"""Placement: a model that is spread over devices, offloaded or in 16 bits is looked into like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.sites import Sites

from deepsight_core import Prompt, Want
from deepsight_core.inside import Lens

Opened = Callable[..., TransformersInside]
PROBE = range(20, 40)
KINDS = ("embed", "resid_in", "resid_mid", "attn_out", "mlp_out", "head", "final", "router", "resid_out")


def wants_of(inside: TransformersInside) -> list[Want]:
    found = [Want(site=kind) for kind in KINDS if inside.sites.layers(kind)]  # type: ignore[arg-type]
    return [*found, Want(reduce=Lens(tokens=(5, 80)))]


def spread(model: Any, places: Sequence[str], folder: Path | None = None) -> Any:
    """The model with its blocks placed in turn, everything else on the first of the places."""
    accelerate = pytest.importorskip("accelerate", reason="what spreads models over devices")
    blocks = f"{model.base_model_prefix}.layers"
    inside = {name for name, _ in model.named_children()} | {
        f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_children()
    }
    outside = inside - {model.base_model_prefix, blocks}
    devices = dict.fromkeys(outside, places[0])
    devices |= {f"{blocks}.{n}": places[n % len(places)] for n in range(len(model.base_model.layers))}
    main = places[0] if places[0] != "disk" else "cpu"
    return accelerate.dispatch_model(model, devices, main_device=main, offload_dir=folder, force_hooks=True)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "mixtral", "glm4-moe"])
def test_blocks_on_disk_give_the_same(
    opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt], tmp_path: Path, family: str
) -> None:
    resident = opened(family)
    model = spread(make(family), ("cpu", "disk"), tmp_path)
    assert any(weight.is_meta for weight in model.parameters())
    inside = TransformersInside(model, tokenizer, digest=family)
    assert inside.sites.taps.keys() == resident.sites.taps.keys()
    wants = wants_of(resident)
    found, expected = inside.run(wants, prompts), resident.run(wants, prompts)
    for want in wants:
        np.testing.assert_array_equal(found[want], expected[want])


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_everything_offloaded_gives_the_same(
    opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt], family: str
) -> None:
    accelerate = pytest.importorskip("accelerate", reason="what offloads models")
    model = accelerate.cpu_offload(make(family), execution_device="cpu")
    inside, resident = TransformersInside(model, tokenizer, digest=family), opened(family)
    assert inside.sites.taps.keys() == resident.sites.taps.keys()
    wants = wants_of(resident)
    found, expected = inside.run(wants, prompts), resident.run(wants, prompts)
    for want in wants:
        np.testing.assert_array_equal(found[want], expected[want])


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "olmo2", "cohere", "gpt2"])
def test_bfloat16_stays_within_its_rounding(
    opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt], family: str
) -> None:
    coarse = TransformersInside(make(family, torch.bfloat16), tokenizer, digest=family)
    fine = opened(family)
    assert coarse.sites.taps.keys() == fine.sites.taps.keys()
    want = Want(site="resid_out")
    found, expected = coarse.run([want], prompts), fine.run([want], prompts)
    assert found.error is not None
    assert found.error < 3e-2
    assert np.linalg.norm(found[want] - expected[want]) < 3e-2 * np.linalg.norm(expected[want])


def test_experts_are_found_in_bfloat16_too(make: Any) -> None:
    for family in ("mixtral", "glm4-moe", "gpt-oss"):
        sites = Sites(make(family, torch.bfloat16), PROBE)
        assert sites.layers("router") == Sites(make(family), PROBE).layers("router") != ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("family", ["llama", "gemma3", "mixtral", "gpt2"])
def test_a_gpu_gives_what_the_cpu_gives(
    opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt], family: str
) -> None:
    inside, resident = TransformersInside(make(family).to("cuda"), tokenizer, digest=family), opened(family)
    assert inside.sites.taps.keys() == resident.sites.taps.keys()
    wants = wants_of(resident)
    found, expected = inside.run(wants, prompts), resident.run(wants, prompts)
    for want in wants:
        np.testing.assert_allclose(found[want], expected[want], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_blocks_on_a_gpu_and_off_it_give_the_same(
    opened: Opened, make: Any, tokenizer: Any, prompts: list[Prompt]
) -> None:
    inside = TransformersInside(spread(make("llama"), ("cpu", "cuda:0")), tokenizer, digest="llama")
    wants = wants_of(inside)
    found, expected = inside.run(wants, prompts), opened("llama").run(wants, prompts)
    for want in wants:
        np.testing.assert_allclose(found[want], expected[want], rtol=1e-3, atol=1e-4)
