"""The content digest of a loaded model: all that its answers depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_WORDS = 1 << 20  # 8 MiB at a time


def content_digest(model: Any, tokenizer: Any, settings: Mapping[str, object]) -> str:
    """sha256 over weights, configuration, tokenizer and `settings` (chat template and the like), 64 hexadecimal digits.

    The weights are those in memory, so that dtype, quantisation and merged adapters count; where they came from does
    not. Every byte enters a 64-bit checksum of its tensor, computed where the tensor lies: that tells apart any two
    models that differ by accident, in a fraction of the time it takes to load them. It is no defence against weights
    that somebody forged to collide. Weights that were left on disk count by name, shape and origin only.
    """
    digest = hashlib.sha256()
    origin = model.config.name_or_path
    tied: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        if tensor.is_meta:
            digest.update(f"on disk, from {origin}".encode())
            continue
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if place not in tied:
            tied[place] = checksum(tensor)
        digest.update(tied[place].to_bytes(8, "little", signed=True))
    for part in (_config(model), _tokenizer(tokenizer), settings):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


@torch.inference_mode()
def checksum(tensor: Tensor) -> int:
    """A 64-bit sum over all bytes, each 8 of them weighted by an odd number that depends on their place."""
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    data = torch.nn.functional.pad(data, (0, -len(data) % 8)).view(torch.int64)
    places = torch.arange(min(len(data), _WORDS), dtype=torch.int64, device=data.device)
    weights = places * 0x1E3779B97F4A7C14 + 1  # wraps around; odd, so that any change of one word changes the sum
    total = 0
    for number, words in enumerate(torch.split(data, _WORDS)):
        total = total * 0x5851F42D4C957F2D + number + int((words * weights[: len(words)]).sum())
    total %= 1 << 64
    return total - (1 << 64) if total >= 1 << 63 else total


def _config(model: Any) -> dict[str, object]:
    """The architecture, and where an answer ends. Names, versions and defaults of sampling change no answer."""
    config = model.config.to_diff_dict()
    for key in ("_name_or_path", "transformers_version", "dtype", "architectures"):
        config.pop(key, None)
    return {"class": type(model).__name__, "config": config, "ends": model.generation_config.eos_token_id}


def _tokenizer(tokenizer: Any) -> object:
    if not tokenizer.is_fast:
        return [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.special_tokens_map]
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("padding", None)  # how it was last called, not what it is
    state.pop("truncation", None)
    return [state, tokenizer.special_tokens_map]
