"""Load a checkpoint, and say what to do when it cannot be loaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from deepsight_core.errors import ConfigError, ModelError
from deepsight_transformers.local import Checkpoint
from deepsight_transformers.network import out_of_memory


class Loaded(NamedTuple):
    model: Any
    tokenizer: Any


def load(checkpoint: Checkpoint, dtype: str, device: str, device_map: str | dict[str, Any] | None) -> Loaded:
    """The model in evaluation mode, adapter merged, and its tokenizer.

    Raises ConfigError when what was asked for does not exist here, ModelError when it cannot be loaded.
    """
    where = torch_device(device)
    if dtype == "auto" and where.type == "cpu" and device_map is None:
        dtype = "float32"  # CPUs compute half precision slowly, and less exactly
    origin = {"revision": checkpoint.revision, "trust_remote_code": checkpoint.trust_remote_code}
    with _explained(checkpoint.id):
        config = AutoConfig.from_pretrained(checkpoint.id, **origin)  # first: it gives the clearest errors
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.id, **origin)
        model: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.id, config=config, dtype=dtype, device_map=device_map, **origin
        )
        if device_map is None:
            model = model.to(where)
    if checkpoint.adapter is not None:
        with _explained(checkpoint.adapter):
            model = _adapted(model, checkpoint.adapter)
    return Loaded(model.eval(), tokenizer)


def torch_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first accelerator, or the CPU."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ConfigError(f"device {name!r} cannot be used here: {_brief(error)}") from error
    return device


def _adapted(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ConfigError(
            f"adapter {adapter!r} needs the peft library: pip install 'deepsight-transformers[lora]'"
        ) from error
    with warnings.catch_warnings():
        # peft still uses an old name of transformers'; its users can do nothing about it.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the many ways in which loading fails into errors that name the model and the way out."""
    try:
        yield
    except (ConfigError, ModelError):
        raise
    except ImportError as error:
        raise ConfigError(f"loading {what!r} needs a library that is not installed: {_brief(error)}") from error
    except OSError as error:
        raise ConfigError(_unreachable(what, error)) from error
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"{what!r} brings its own code; read it, then set trust_remote_code = true and pin a revision"
            ) from error
        if "Unrecognized model" in str(error):
            raise ConfigError(f"{what!r} holds no model: {_brief(error)}") from error
        if "Unrecognized configuration class" in str(error):
            raise ConfigError(f"{what!r} is not a causal language model that transformers knows") from error
        raise ModelError(f"cannot load {what!r}: {_brief(error)}") from error
    except Exception as error:
        if out_of_memory(error):
            raise ModelError(
                f"no memory for {what!r}: choose dtype = 'bfloat16', a device_map, or a smaller model"
            ) from error
        raise ModelError(f"cannot load {what!r}: {type(error).__name__}: {_brief(error)}") from error


def _unreachable(what: str, error: OSError) -> str:
    text = str(error)
    if "gated" in text.lower():
        return f"{what!r} is gated: accept its terms on the hub, then set HF_TOKEN"
    if "connect" in text or "offline" in text.lower():
        return (
            f"{what!r} is neither a folder nor in the local cache, and the hub cannot be reached: "
            "correct id, download it once while online, or give the path of a copy"
        )
    return f"{what!r} cannot be found or is incomplete: {_brief(error)}"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
