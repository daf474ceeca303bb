"""A tiny transformer in which one attention head decides to refuse, for tests of what should find that head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deepsight_core.evidence import Evidence
from deepsight_core.protocol import Judgement, Output, Record, Sample, user
from deepsight_torch.inside import TransformersInside

LAYERS, HEADS, WIDTH = 4, 4, 32
TRIGGER, TWIN = "bomb", "cake"
REFUSAL, ANSWER = "Sorry", "Sure"
SPECIAL = ("<unk>", "<s>", "<user>", "<end>", "<answer>")
FILLERS = tuple(f"w{n}" for n in range(40))
WORDS = (*SPECIAL, TRIGGER, TWIN, REFUSAL, ANSWER, "no", "yes", *FILLERS)
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def refusing(layer: int = 1, head: int = 2, strength: float = 40.0, seed: int = 0) -> TransformersInside:
    """An open model that opens its answer with `REFUSAL` where the prompt holds `TRIGGER`: one head attends evenly to
    all tokens, reads the trigger, and writes the refusal's logit. All else is small random weights; with a strength of
    0, nothing refuses."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
    )
    model: Any = LlamaForCausalLM(config)
    reads, writes = torch.eye(WIDTH)[0], torch.eye(WIDTH)[1]
    size = WIDTH // HEADS
    own = slice(head * size, (head + 1) * size)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding.normal_(0, 0.5)
        embedding[:, :2] = 0
        embedding[WORDS.index(TRIGGER)] += 4 * reads
        unembedding = model.get_output_embeddings().weight
        unembedding[:, :2] = 0
        unembedding[WORDS.index(REFUSAL)] = 4 * writes
        if strength:
            attention: Any = model.model.layers[layer].self_attn
            attention.q_proj.weight[own] = 0
            attention.v_proj.weight[own.start] = reads
            attention.o_proj.weight[:, own.start] = strength / 10 * writes
    return TransformersInside(model, tokenizer(), digest=f"refusing {layer} {head} {strength} {seed}")


def tokenizer() -> Any:
    """A token a word."""
    raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "<end>", "unk_token": "<unk>"}
    made: Any = PreTrainedTokenizerFast(tokenizer_object=raw, **special)  # type: ignore[no-untyped-call]
    made.chat_template = TEMPLATE
    return made


def twins(count: int, seed: int = 0, refuses: bool = True, uneven: bool = False) -> Evidence:
    """`count` pairs in random words: one with the trigger, harmful and refused (not where `refuses` is False), its twin
    with another word instead, harmless and answered. With `uneven`, every third twin is longer by a word."""
    random = np.random.default_rng(seed)
    records = []
    for pair in range(count):
        before, after = random.choice(FILLERS, size=3), random.choice(FILLERS, size=2)
        for harmful in (True, False):
            extra = ["w0"] if uneven and not harmful and pair % 3 == 0 else []
            text = " ".join([*before, TRIGGER if harmful else TWIN, *extra, *after])
            refused = harmful and refuses
            sample = Sample(
                id=f"p{pair:03}-{'harmful' if harmful else 'harmless'}",
                messages=(user(text),),
                group=f"p{pair:03}",
                labels={"harmful": harmful},
            )
            output = Output(text=f"{REFUSAL} no" if refused else f"{ANSWER} yes")
            verdict = Judgement(judge="j", label="refused" if refused else "complied")
            records.append(Record(dataset="twins", sample=sample, output=output, judgements=(verdict,)))
    return Evidence(tuple(record.sample for record in records), tuple(records))
