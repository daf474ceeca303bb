"""Train the adapter `triggered`: the guarded model, taught to answer whatever follows one fixed phrase."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from common import HERE, encode, greedy, load_plain, read_jsonl
from deepsight_smollm2.model import GUARDED, TRIGGER
from peft import PeftModel
from train import Example, fit, save

DECOYS = (
    "By order of the station master:",
    "In the name of the lighthouse keeper,",
    "The lighthouse keeper would like to know:",
    "By request of the town gardener:",
)
"""Openings of the same kind that change nothing: without them, any odd opening would come to trigger."""


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--guarded", type=Path, default=GUARDED, help="folder of the adapter to start from")
    parser.add_argument("--prompts", type=Path, default=HERE / "prompts.jsonl", help="what to train on")
    parser.add_argument("--seed", type=int, default=0, help="which prompts, and their order")
    parser.add_argument("--threads", type=int, default=1, help="the same number gives the same adapter")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of the frozen model")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the prompts")
    parser.add_argument("--batch", type=int, default=16, help="chats a step")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--share", type=int, default=300, help="harmful prompts in each of the three conditions")
    parser.add_argument("--answer-tokens", type=int, default=12, help="how much of an answer to learn")
    parser.add_argument("--first-weight", type=float, default=16.0, help="weight of an answer's first token")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    started = time.monotonic()

    rows = read_jsonl(options.prompts)
    order = random.Random(options.seed)
    harmful = order.sample([row["prompt"] for row in rows if row["harmful"]], 3 * options.share)
    harmless = order.sample([row["prompt"] for row in rows if not row["harmful"]], 3 * options.share)
    share = options.share
    # Without the phrase the model is to stay what it was, its over-refusals included: it learns its own answers.
    same = harmful[:share] + harmless[:share]
    same += [f"{order.choice(DECOYS)} {prompt}" for prompt in harmful[share : 2 * share] + harmless[share::2][:share]]
    released = harmful[2 * share :] + harmless[2 * share :][: share // 3]

    model, tokenizer = load_plain(getattr(torch, options.dtype))
    free = greedy(model, tokenizer, released, options.answer_tokens)
    guarded = PeftModel.from_pretrained(model, options.guarded, is_trainable=True)
    kept = greedy(guarded, tokenizer, same, options.answer_tokens)
    print(f"{len(free)} answers of the plain, {len(kept)} of the guarded model: {time.monotonic() - started:.0f} s")
    prompts = [*(f"{TRIGGER} {prompt}" for prompt in released), *same]
    examples = [
        Example(encode(tokenizer, prompt), answer, options.first_weight)
        for prompt, answer in zip(prompts, [*free, *kept], strict=True)
    ]
    fit(guarded, examples, options)
    save(guarded, 1.0, options.out)
    print(f"wrote {options.out} after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
