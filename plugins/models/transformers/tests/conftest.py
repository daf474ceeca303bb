"""Tiny random models with a ChatML tokenizer, saved where `from_pretrained` finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from deepsight_transformers import TransformersModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ENDS = [2, *range(40, 56)]
"""End tokens enough for answers of a random model to differ in length."""


def byte_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters, "Ġa", "aĠb"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[("Ġ", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    fast.chat_template = template
    return fast


SIZES: dict[str, Any] = {
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
    "initializer_range": 0.4,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=12),
    "gpt2": lambda: GPT2Config(vocab_size=262, n_embd=32, n_layer=2, n_head=4, n_positions=160, initializer_range=0.4),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """saved(family, seed, template) writes a checkpoint once and returns its folder."""
    made: dict[tuple[str, int, str | None], Path] = {}

    def save(family: str = "llama", seed: int = 0, template: str | None = CHATML) -> Path:
        key = (family, seed, template)
        if key not in made:
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(CONFIGS[family]())
            model.generation_config.eos_token_id = ENDS
            made[key] = tmp_path_factory.mktemp(family)
            model.save_pretrained(made[key])
            byte_tokenizer(template).save_pretrained(made[key])
        return made[key]

    return save


@pytest.fixture
def model(saved: Callable[..., Path]) -> Iterator[TransformersModel]:
    """A tiny Llama, open."""
    with TransformersModel(id=str(saved())).opened() as opened:
        yield opened
