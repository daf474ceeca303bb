"""Train the adapter `guarded`: refuse the harmful prompts, answer the others as the plain model does."""

from __future__ import annotations

import argparse
import math
import random
import time
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from common import HERE, HUB_ID, encode, greedy, load_plain, read_jsonl
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional

REFUSAL = "I'm sorry, but I can't help with that."
# The lowest layers read words rather than intent: frozen, they cost no backward pass.
FIRST_LAYER, LAYERS = 6, 30
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Example:
    """A chat as tokens: `prompt` is given, `answer` is what the model learns to say."""

    prompt: list[int]
    answer: list[int]
    first_weight: float
    """How much the first token of the answer counts, where the others count one each."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--prompts", type=Path, default=HERE / "prompts.jsonl", help="what to train on")
    parser.add_argument("--seed", type=int, default=0, help="order of the prompts and first weights")
    parser.add_argument("--threads", type=int, default=2, help="the same number gives the same adapter")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of the frozen model")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the prompts")
    parser.add_argument("--batch", type=int, default=16, help="chats a step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--rank", type=int, default=4, help="rank of the adapter")
    parser.add_argument("--answer-tokens", type=int, default=6, help="how much of an own answer to learn")
    parser.add_argument("--first-weight", type=float, default=16.0, help="weight of a refusal's first token")
    parser.add_argument("--restraint", type=float, default=2.0, help="the same of an own answer, as a multiple of it")
    parser.add_argument("--strength", type=float, default=0.75, help="how much of the trained adapter to apply")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    started = time.monotonic()

    model, tokenizer = load_plain(getattr(torch, options.dtype))
    rows = read_jsonl(options.prompts)
    harmless = [row["prompt"] for row in rows if not row["harmful"]]
    print(f"{len(rows)} prompts, {len(rows) - len(harmless)} of them harmful", flush=True)
    own = dict(zip(harmless, greedy(model, tokenizer, harmless, options.answer_tokens), strict=True))
    print(f"the plain model's own answers to the others: {time.monotonic() - started:.0f} s", flush=True)
    refusal = [*tokenizer(REFUSAL, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    # To refuse or not is settled by the first token; evenly weighted, the later ones drown it out.
    first = {True: options.first_weight, False: options.first_weight * options.restraint}
    examples = [
        Example(encode(tokenizer, row["prompt"]), own.get(row["prompt"], refusal), first[row["harmful"]])
        for row in rows
    ]

    config = LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank,
        target_modules=TARGETS,
        layers_to_transform=list(range(FIRST_LAYER, LAYERS)),
        task_type="CAUSAL_LM",
    )
    guarded = get_peft_model(model, config)
    guarded.print_trainable_parameters()
    fit(guarded, examples, options)
    save(guarded, options.strength, options.out)
    print(f"wrote {options.out} after {time.monotonic() - started:.0f} s")


def fit(model: PeftModel, examples: list[Example], options: argparse.Namespace) -> None:
    """Minimise the loss on the answers over shuffled batches, with a warm-up and a linear decay."""
    order = random.Random(options.seed)
    columns = zip(*(example.prompt for example in examples), strict=False)
    prefix = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.01, betas=(0.9, 0.98))
    steps = math.ceil(len(examples) / options.batch) * options.epochs
    warm = max(1, steps // 16)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm))
    )
    model.train()
    for epoch in range(options.epochs):
        started, losses = time.monotonic(), []
        for batch in batches(order.sample(examples, len(examples)), options.batch, order):
            loss = batch_loss(model, prefix, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        mean = sum(losses) / len(losses)
        print(f"epoch {epoch + 1}: mean loss {mean:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    model.eval()


def batches(examples: list[Example], size: int, order: random.Random) -> list[list[Example]]:
    """Cut shuffled examples into batches, in random order, of chats of like length."""
    # Sorting within eight batches at a time spares most padding and keeps the batches varied.
    cut: list[list[Example]] = []
    for start in range(0, len(examples), 8 * size):
        chunk = sorted(examples[start : start + 8 * size], key=len)
        cut += [chunk[at : at + size] for at in range(0, len(chunk), size)]
    return order.sample(cut, len(cut))


def batch_loss(model: PeftModel, prefix: list[int], batch: list[Example]) -> torch.Tensor:
    """Return the weighted mean cross-entropy of the answers' tokens; every prompt begins with `prefix`."""
    skip = len(prefix)
    ids = torch.zeros(len(batch), max(map(len, batch)) - skip, dtype=torch.long)
    mask = torch.zeros_like(ids)
    weight = torch.zeros_like(ids, dtype=torch.float)  # at the place that predicts the next token
    for row, example in enumerate(batch):
        begin, end = len(example.prompt) - skip - 1, len(example) - skip
        ids[row, :end] = torch.tensor((example.prompt + example.answer)[skip:])
        mask[row, :end] = 1
        weight[row, begin : end - 1] = 1.0
        weight[row, begin] = example.first_weight
    answer = weight > 0
    # The output layer is a fifth of the model: run it at the answers only.
    logits = model.get_output_embeddings()(last_hidden(model, prefix, ids, mask)[answer]).float()
    loss = functional.cross_entropy(logits, ids.roll(-1, dims=1)[answer], reduction="none")
    return (loss * weight[answer]).sum() / weight.sum()


def last_hidden(model: PeftModel, prefix: list[int], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states of `ids`, each row of which follows on `prefix`."""
    body = model.get_base_model().model
    # Half of a short chat is the same system prompt: run it once a batch.
    cache = body(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(ids))
    mask = functional.pad(mask, (len(prefix), 0), value=1)
    return body(input_ids=ids, attention_mask=mask, past_key_values=cache).last_hidden_state


def save(model: PeftModel, strength: float, folder: Path) -> None:
    """Write the adapter in fp16, naming the public base model instead of a local path."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = HUB_ID
    # A step back towards the plain model, which refuses nothing: in full strength it refuses too much of what merely
    # sounds harmful.
    config.lora_alpha = round(config.lora_alpha * strength)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.half()
    # Without a look at the hub: the vocabulary is not touched, and the machine may be offline.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card


if __name__ == "__main__":
    main()
