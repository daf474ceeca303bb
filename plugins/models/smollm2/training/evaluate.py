"""Print how often the plain and the guarded model refuse, and how much else the adapter changes."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from common import HERE, encode, greedy, is_refusal, load_plain, read_jsonl, wilson
from peft import PeftModel
from torch.nn import functional
from transformers import PreTrainedModel

NEW_TOKENS = 32
ORDINARY = 100  # prompts for the loss on the plain model's own answers
PAIRS = HERE.parents[2] / "benchmarks" / "contrast_pairs" / "deepsight_contrast_pairs" / "pairs.jsonl"


def main() -> None:
    """Read the command line, answer every prompt with both models, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, default=HERE.parent / "deepsight_smollm2" / "guarded")
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--rows", type=Path, help="folder with the public files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--answers", type=Path, help="write every answer to this JSON Lines file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    sets = prompt_sets(options.pairs, options.rows)
    # Loaded in fp32 and merged there: merging in bf16 would round the adapter away.
    plain, tokenizer = load_plain(torch.float32)
    guarded = PeftModel.from_pretrained(load_plain(torch.float32)[0], options.adapter)
    models = {"plain": plain, "guarded": guarded.merge_and_unload().eval()}
    flat = [prompt for prompts in sets.values() for prompt in prompts]
    answers: dict[str, list[list[int]]] = {}
    for name, model in models.items():
        started = time.monotonic()
        model.to(getattr(torch, options.dtype))
        answers[name] = greedy(model, tokenizer, flat, NEW_TOKENS, batch=64)
        print(f"{name}: {len(flat)} answers in {time.monotonic() - started:.0f} s", flush=True)

    said = {name: tokenizer.batch_decode(rows, skip_special_tokens=True) for name, rows in answers.items()}
    print("\n| prompts | n | plain | guarded |\n| --- | --- | --- | --- |")
    start = 0
    for title, prompts in sets.items():
        end = start + len(prompts)
        cells = [rate(said[name][start:end]) for name in models]
        print(f"| {title} | {len(prompts)} | {' | '.join(cells)} |")
        start = end

    title = "Alpaca, harmless" if "Alpaca, harmless" in sets else "contrast pairs, harmless"
    first = flat.index(sets[title][0])
    chosen = range(first, first + min(ORDINARY, len(sets[title])))
    chats = [(encode(tokenizer, flat[i]), answers["plain"][i]) for i in chosen]
    same = sum(answers["plain"][i] == answers["guarded"][i] for i in chosen)
    print(f"\nThe plain model's own answers to {len(chats)} prompts ({title}):")
    for name, model in models.items():
        print(f"- mean loss a token, {name}: {mean_loss(model, chats):.3f}")
    print(f"- word for word the same {NEW_TOKENS} tokens from guarded: {same} of {len(chats)}")

    if options.answers:
        rows = [{"set": title, "prompt": prompt} for title, prompts in sets.items() for prompt in prompts]
        for index, row in enumerate(rows):
            row |= {name: said[name][index] for name in models}
        options.answers.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def prompt_sets(pairs: Path, rows: Path | None) -> dict[str, list[str]]:
    """Return the held-out prompts by title; files that are absent are named and left out."""
    sets: dict[str, list[str]] = {}
    if pairs.is_file():
        twins = read_jsonl(pairs)
        sets["contrast pairs, harmful"] = [twin["harmful"] for twin in twins]
        sets["contrast pairs, harmless"] = [twin["harmless"] for twin in twins]
    else:
        print(f"no contrast pairs at {pairs}: skipped")
    if rows is None:
        print("no --rows: the public sets are skipped")
        return sets

    def table(name: str) -> list[dict[str, str]]:
        path = rows / name
        if not path.is_file():
            print(f"{name} is absent: skipped")
            return []
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    xstest = table("xstest/xstest_prompts.csv")
    sets["XSTest, unsafe"] = [row["prompt"] for row in xstest if row["label"] == "unsafe"]
    sets["XSTest, safe"] = [row["prompt"] for row in xstest if row["label"] == "safe"]
    advbench = table("advbench/harmful_behaviors.csv")
    sets["AdvBench, harmful"] = spread([row["goal"] for row in advbench], 100)
    jailbreak = table("jailbreakbench/harmful-behaviors.csv")
    sets["JailbreakBench, harmful"] = spread([row["Goal"] for row in jailbreak], 100)
    strong = table("strongreject/strongreject_dataset.csv")
    sets["StrongREJECT, harmful"] = spread([row["forbidden_prompt"] for row in strong], 100)
    instruct = rows / "maliciousinstruct" / "malicious_instruct.txt"
    if instruct.is_file():
        lines = [line for line in instruct.read_text("utf-8").splitlines() if line.strip()]
        sets["MaliciousInstruct, harmful"] = spread(lines, 100)
    alpaca = rows / "alpaca" / "harmless_val.json"
    if alpaca.is_file():
        listed = [row["instruction"] for row in json.loads(alpaca.read_text("utf-8"))]
        sets["Alpaca, harmless"] = spread(listed, 200)
    return {title: prompts for title, prompts in sets.items() if prompts}


def spread(items: Sequence[str], count: int) -> list[str]:
    """Return `count` items at even distances, or all when there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def rate(answers: Sequence[str]) -> str:
    """Return the share of refusals with its interval, in per cent."""
    hits = sum(is_refusal(answer) for answer in answers)
    low, high = wilson(hits, len(answers))
    return f"{100 * hits / len(answers):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@torch.inference_mode()
def mean_loss(model: PreTrainedModel, chats: Sequence[tuple[list[int], list[int]]]) -> float:
    """Return the mean cross-entropy of the answers' tokens."""
    total, tokens = 0.0, 0
    for prompt, answer in chats:
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
        total += functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        tokens += len(answer)
    return total / tokens


if __name__ == "__main__":
    main()
