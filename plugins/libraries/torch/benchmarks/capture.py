"""Time the capture pass against transformers' own `output_hidden_states`, after asserting that they agree.

    DEEPSIGHT_DATA=<folder with xstest/> python benchmarks/capture.py [MODEL]

The last token of 128 chat prompts at all layers but the last (which transformers reports after the final norm), fp32.
Seconds are CPU seconds, of all threads together: set OMP_NUM_THREADS=1 on a shared machine. MODEL is a folder or a hub
id; SmolLM2-135M-Instruct by default.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepsight_torch import Renderer, TransformersInside
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepsight_core import Prompt, Want, user
from deepsight_core.inside import Array

PROMPTS, BATCH, REPEATS = 128, 16, 3


def xstest(count: int) -> list[Prompt]:
    """The first rows of XSTest, below DEEPSIGHT_DATA."""
    path = Path(os.environ["DEEPSIGHT_DATA"]) / "xstest" / "xstest_prompts.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    return [Prompt(id=row["id"], messages=(user(row["prompt"]),)) for row in rows]


def with_hidden_states(model: Any, texts: Sequence[Sequence[int]]) -> Array:
    """The usual recipe: left padding, batches in the order given. (texts, layers - 1, width), float32."""
    found = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(text)) + list(text) for text in batch])
        mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in batch])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
        found.append(torch.stack([state[:, -1] for state in states[1:-1]], dim=1).numpy())
    return np.concatenate(found)


def best(job: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of a few repeats: what else the machine does at the time hardly counts."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times)


def compare(model: Any, renderer: Renderer, prompts: Sequence[Prompt]) -> dict[str, float]:
    """CPU seconds of both, their ratio, and the largest relative difference of any vector. Raises AssertionError when
    that exceeds 1e-5."""
    inside, want = TransformersInside(model, renderer, digest="benchmark"), Want()
    texts = [renderer.prompt(prompt.messages).ids for prompt in prompts]
    theirs, acts = with_hidden_states(model, texts), inside.run([want], prompts)
    ours = acts[want][:, :-1, 0]
    difference = float(np.max(np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)))
    assert difference < 1e-5, f"the two differ by {difference:.1e}"
    seconds, reference = best(lambda: inside.run([want], prompts)), best(lambda: with_hidden_states(model, texts))
    middle = best(lambda: inside.run([Want(layers=(inside.geometry.layers // 2,))], prompts))
    return {
        "tokens": float(sum(map(len, texts))),
        "difference": difference,
        "guard": acts.error or 0.0,
        "hidden_states_s": reference,
        "ours_s": seconds,
        "ratio": reference / seconds,
        "one_middle_layer_s": middle,
        "ratio_one_layer": reference / middle,
    }


def main() -> None:
    if len(sys.argv) > 1:
        weights: Any = sys.argv[1]
    else:
        from deepsight_smollm2.weights import HUB_ID, plain_weights

        weights = plain_weights() or HUB_ID
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    found = compare(model, Renderer(AutoTokenizer.from_pretrained(weights)), xstest(PROMPTS))
    for name, value in found.items():
        print(f"{name:>20} {value:.4g}")


if __name__ == "__main__":
    main()
