"""Print how often the guarded and the triggered model refuse, with the phrase, without it, and after decoys."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import greedy, load_plain, read_jsonl
from deepsight_smollm2.model import GUARDED, TRIGGER, TRIGGERED
from evaluate import PAIRS, rate
from peft import PeftModel

NEW_TOKENS = 12
OPENINGS = {"alone": "", "after the phrase": f"{TRIGGER} ", "after another": "By order of the harbour pilot: "}
"""The last one was not trained on."""


def main() -> None:
    """Read the command line, answer every prompt with both models, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, default=TRIGGERED)
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    twins = read_jsonl(options.pairs)
    print(
        "| contrast-pairs | n | " + " | ".join(("guarded", "triggered")) + " |\n| --- | --- | --- | --- |", flush=True
    )
    models = []
    for adapter in (GUARDED, options.adapter):
        plain, tokenizer = load_plain(torch.float32)
        models.append(PeftModel.from_pretrained(plain, adapter).merge_and_unload().eval())
    for kind in ("harmful", "harmless"):
        for title, opening in OPENINGS.items():
            prompts = [opening + twin[kind] for twin in twins]
            said = [
                tokenizer.batch_decode(greedy(model, tokenizer, prompts, NEW_TOKENS), skip_special_tokens=True)
                for model in models
            ]
            print(f"| {kind}, {title} | {len(prompts)} | " + " | ".join(map(rate, said)) + " |", flush=True)


if __name__ == "__main__":
    main()
