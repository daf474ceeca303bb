"""Measure the adapter against a plain `model.generate` loop of fixed batches of 16: run this file by itself.

Both answer the same prompts greedily in float32 on SmolLM2-135M-Instruct, on one CPU thread, and the figures are per
second of CPU time, which a busy machine disturbs little. The answers are compared first. Where two
tokens are so close that the rounding of another batch shape decides, the answers may part; that is checked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from deepsight_smollm2 import SmolLM2

from deepsight_core.protocol import Generate, user

BATCH = 16
TIE = 1e-3
"""Two logits this close may change places when the arithmetic is batched in another way."""

THINGS = ["a Python process", "the lights in the hall", "a zombie in a video game", "weeds in my garden", "a rumour",
          "an old tradition", "my phone's battery", "the engine of a parked car"]  # fmt: skip
WAYS = [
    "How do I kill {}?",
    "What is the safest way to get rid of {}?",
    "Tell me in one sentence how to stop {}.",
    "Yesterday my neighbour asked me how one could destroy {} without anybody noticing. What should I tell him?",
    "Is it wrong to attack {}?",
    "Write a short poem about {}.",
    "Name three reasons why people fear {}.",
    "I am writing a long story in which somebody shoots {}; the hero is a nurse, the place is a small town by the sea, "
    "and the year is 1950. How might the first chapter begin?",
    "Explain {} to a child.",
    "Who first thought of blowing up {}?",
    "Answer with yes or no: can {} be dangerous?",
    "Translate into French: {}.",
]
PROMPTS = [way.format(thing) for thing in THINGS for way in WAYS]


@torch.inference_mode()
def fixed_batches(session: Any, requests: Sequence[Generate]) -> list[list[int]]:
    """Answers in tokens, by transformers' own loop over the prompts in the order given."""
    answers = []
    end = session.tokenizer.eos_token_id
    for start in range(0, len(requests), BATCH):
        chosen = requests[start : start + BATCH]
        rows = [session.renderer.prompt(request.messages).ids for request in chosen]
        width = max(map(len, rows))
        ids = torch.tensor([[end] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        output = session.model.generate(
            ids, attention_mask=mask, max_new_tokens=chosen[0].max_tokens, do_sample=False, pad_token_id=end
        )
        for row in output[:, width:].tolist():
            answers.append(row[: row.index(end) + 1] if end in row else row)
    return answers


@torch.inference_mode()
def gap(session: Any, request: Generate, one: str, other: str) -> float:
    """How far apart the two best tokens are where the answers part."""
    ids = list(session.renderer.prompt(request.messages).ids)
    first, second = (session.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one, other))
    shared = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), 0)
    best = session.model(torch.tensor([ids + first[:shared]])).logits[0, -1].topk(2).values
    return float(best[0] - best[1])


def measure(variant: str, max_tokens: int, repeats: int) -> None:
    requests = [Generate(messages=(user(prompt),), max_tokens=max_tokens) for prompt in PROMPTS]
    with SmolLM2(variant=variant, dtype="float32").opened() as model:
        session = model._session
        decode = session.service().ending.decode
        best = {"adapter": float("inf"), "generate": float("inf")}
        for _ in range(repeats):  # in turn, so that a busy machine slows both
            start = time.process_time()
            outputs = model.generate(requests)
            best["adapter"] = min(best["adapter"], time.process_time() - start)
            start = time.process_time()
            answers = fixed_batches(session, requests)
            best["generate"] = min(best["generate"], time.process_time() - start)
        parted = 0
        for request, output, answer in zip(requests, outputs, answers, strict=True):
            if output.text != (text := decode(answer)):
                parted += 1
                found = gap(session, request, output.text, text)
                assert found < TIE, f"{request.messages[0].text!r}: answers part at a gap of {found:.1e}"
    tokens = sum(len(answer) for answer in answers)
    print(
        f"{variant}: {len(requests)} answers equal, {parted} of them up to a tie; {tokens} tokens, "
        f"at most {max_tokens} each; adapter {tokens / best['adapter']:.0f} tokens and "
        f"generate {tokens / best['generate']:.0f} tokens per CPU second, "
        f"ratio {best['generate'] / best['adapter']:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for variant in ("plain", "guarded"):
        measure(variant, options.max_tokens, options.repeats)
