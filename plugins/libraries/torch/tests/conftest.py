"""Tiny random models of many families, and a byte-level tokenizer with a ChatML template."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from deepsight_torch.sites import Sites
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4Config,
    Glm4MoeConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    JambaConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

from deepsight_core import Prompt, user

if TYPE_CHECKING:
    from deepsight_torch import TransformersInside

torch.set_num_threads(1)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMON = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
WINDOW = {**GROUPED, "head_dim": 8, "sliding_window": 8}
EXPERTS = {**GROUPED, "num_experts_per_tok": 2}
ROOT = {"vocab_size": 270, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=8),
    "gemma2": lambda: Gemma2Config(**WINDOW, final_logit_softcapping=2.0),
    "gemma3": lambda: Gemma3TextConfig(**WINDOW),
    "gpt2": lambda: GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=512, **ROOT),
    "gpt-neox": lambda: GPTNeoXConfig(**COMMON),
    "phi3": lambda: Phi3Config(**GROUPED),
    "olmo2": lambda: Olmo2Config(**GROUPED),
    "mixtral": lambda: MixtralConfig(**EXPERTS, num_local_experts=4),
    "qwen3-moe": lambda: Qwen3MoeConfig(**EXPERTS, num_experts=4, moe_intermediate_size=16, head_dim=8),
    "bloom": lambda: BloomConfig(hidden_size=32, n_layer=3, n_head=4, **ROOT),
    "opt": lambda: OPTConfig(
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=512,
        **ROOT,
    ),
    "glm4": lambda: Glm4Config(**GROUPED, head_dim=8),
    "glm4-moe": lambda: Glm4MoeConfig(
        **EXPERTS, head_dim=8, n_routed_experts=4, n_shared_experts=1, moe_intermediate_size=16, first_k_dense_replace=1
    ),
    "cohere": lambda: CohereConfig(**GROUPED, logit_scale=0.0625),
    "gpt-j": lambda: GPTJConfig(n_embd=32, n_layer=3, n_head=4, n_positions=512, rotary_dim=4, **ROOT),
    "gpt-oss": lambda: GptOssConfig(**{**EXPERTS, **WINDOW}, num_local_experts=4),
    "jamba": lambda: JambaConfig(
        **EXPERTS, num_experts=4, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4
    ),
    "qwen3-next": lambda: Qwen3NextConfig(
        **EXPERTS,
        head_dim=8,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "granite": lambda: GraniteConfig(
        **GROUPED, residual_multiplier=0.22, embedding_multiplier=12.0, logits_scaling=8.0, attention_multiplier=0.1
    ),
}
PARALLEL = ("cohere", "gpt-j", "gpt-neox")
MIXTURES = {
    "glm4-moe": (1, 2),
    "gpt-oss": (0, 1, 2),
    "jamba": (1,),
    "mixtral": (0, 1, 2),
    "qwen3-moe": (0, 1, 2),
    "qwen3-next": (0, 1, 2),
}
"""Layers whose MLP is a mixture of experts."""
RECURRENT = {"jamba": (0, 2), "qwen3-next": (0, 2)}
"""Layers that mix tokens without attention."""


def build(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A model whose every weight, norms included, was moved away from where it starts."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(FAMILIES[name]()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.to(dtype)


def words(count: int) -> list[Prompt]:
    """Prompts of very different lengths that begin alike."""
    texts = [f"Please tell me {'more and ' * (n % 4)}about number {n}, please{'!' * (n % 3)}" for n in range(count)]
    return [Prompt(id=f"p{n}", messages=(user(text),), answer="No. " * (1 + n % 3)) for n, text in enumerate(texts)]


def hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    newline = "Ċ"  # how byte-level tokenizers write it; two of them are one token
    vocabulary = {token: n for n, token in enumerate([*special, *alphabet, 2 * newline])}
    raw = Tokenizer(models.BPE(vocabulary, [(newline, newline)]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<s>")
    made.add_special_tokens({"additional_special_tokens": special[2:]})
    made.chat_template = CHATML
    return made


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def opened(tokenizer: Any) -> Callable[..., TransformersInside]:
    """Opens a family, once for all tests that only look."""
    from deepsight_torch import TransformersInside

    inside: dict[str, TransformersInside] = {}

    def open_family(name: str, **options: Any) -> TransformersInside:
        if options:
            return TransformersInside(build(name), tokenizer, digest=name, **options)
        if name not in inside:
            inside[name] = TransformersInside(build(name), tokenizer, digest=name)
        return inside[name]

    return open_family


@pytest.fixture(scope="session")
def sites_of() -> Callable[[str], Sites]:
    """The sites of a family, found once for all tests that only look."""
    return cache(lambda name: Sites(build(name), range(20, 40)))


@pytest.fixture
def prompts() -> list[Prompt]:
    return words(10)


@pytest.fixture
def count_hooks() -> Callable[[torch.nn.Module], int]:
    return hooks


@pytest.fixture
def families() -> dict[str, Any]:
    return {"parallel": PARALLEL, "mixtures": MIXTURES, "recurrent": RECURRENT}


@pytest.fixture
def make() -> Callable[..., Any]:
    return build
