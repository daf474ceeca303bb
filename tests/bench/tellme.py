"""TELLME by the published rules against the same rules rendered plainly, and the formulas alone at a larger width.

Both read the same real texts with SmolLM2-135M-Instruct in float32 and are timed in CPU seconds. The quantities that
come of it are compared first. The reading needs DEEPSIGHT_DATA; the formulas do not.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from deepsight_tellme.published import SUFFIX, block, published
from torch.nn.functional import normalize

from deepsight_core import Evidence, Sample

REQUIRED = 5.0
EPSILON = 0.1


def read_plainly(model: Any, tokenizer: Any, samples: Sequence[Sample], batch: int) -> torch.Tensor:
    """The last state of every text at the published block: batches in the order of the data, padded on the left, every
    layer and the logits kept."""
    tokenizer.padding_side = "left"
    rows = []
    for start in range(0, len(samples), batch):
        texts = []
        for sample in samples[start : start + batch]:
            question, answer = (message.text for message in sample.messages)
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer + SUFFIX}]
            texts.append(tokenizer.apply_chat_template(turns, tokenize=False))
        encoded = tokenizer(texts, padding=True, return_tensors="pt")
        given = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            states = model(**given, output_hidden_states=True).hidden_states
        rows.append(states[block(model.config.num_hidden_layers) + 1][:, -1].float())
    return torch.cat(rows)


def measure_plainly(z: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """The published quantities with width x width matrices, in float32."""
    order = torch.argsort(y, stable=True)
    z, y = z[order], y[order]
    count, width = z.shape
    unit = normalize(z, dim=0)

    def rate(rows: torch.Tensor) -> float:
        inner = torch.eye(width) + width / (len(rows) * EPSILON) * rows.T @ rows
        return float(torch.linalg.slogdet(inner)[1]) / 2

    own = [unit[y == label] for label in y.unique()]
    centred = normalize(z - z.mean(0), dim=1)
    covariance = centred.T @ centred / count
    p = torch.linalg.svdvals(covariance / covariance.trace())
    p = p[p > 0]
    size = count // 2
    one, other = z[:size], z[size : 2 * size]
    apart = torch.cdist(one, other)
    cosine = torch.cosine_similarity(one, other).mean()
    shifted = [normalize(rows - rows.mean(), dim=0) for rows in (one, other)]
    return {
        "r_diff": rate(unit),
        "r_same": sum(len(rows) / count * rate(rows) for rows in own),
        "erank": float(torch.exp(-(p * p.log()).sum())),
        "cos_sim": float(torch.rad2deg(torch.arccos(cosine))),
        "pcc": float((shifted[0] * shifted[1]).mean()),
        "l2": float(apart.mean()),
        "hausdorff": float(max(apart.amin(1).max(), apart.amin(0).max())),
        "l1": float(torch.cdist(one, other, p=1).mean()),
    }


def texts(count: int) -> list[Sample]:
    """Half unsafe, half safe, in the order of the file."""
    from deepsight_beavertails_tellme import BeaverTailsTellme

    samples = list(BeaverTailsTellme().samples())
    halves = ([s for s in samples if s.labels["harmful"] is harmful] for harmful in (True, False))
    return [sample for half in halves for sample in islice(half, count // 2)]


def compare(options: argparse.Namespace) -> Iterator[str]:
    """One evaluation of TELLME, from texts to numbers, both ways."""
    from deepsight_smollm2 import SmolLM2
    from deepsight_tellme import Tellme

    torch.set_num_threads(1)
    with SmolLM2(dtype="float32").opened() as model:
        samples = texts(options.texts)
        inside = model.inside()
        network, tokenizer = inside.sites.model, inside.renderer.tokenizer
        evidence, diagnostic = Evidence(tuple(samples)), Tellme(mode="reference")
        y = torch.tensor([not sample.labels["harmful"] for sample in samples]).long()
        side = tokenizer.padding_side
        best = {"plain": float("inf"), "ours": float("inf")}
        for _ in range(options.repeats):  # in turn, so that a busy machine slows both
            start = time.process_time()
            expected = measure_plainly(read_plainly(network, tokenizer, samples, options.batch), y)
            tokenizer.padding_side = side
            best["plain"] = min(best["plain"], time.process_time() - start)
            start = time.process_time()
            acts = inside.run(diagnostic.wants(evidence, inside.geometry), evidence.prompts)
            diagnosis = diagnostic.diagnose(evidence, acts, inside)
            best["ours"] = min(best["ours"], time.process_time() - start)
    found = {finding.name.lower(): finding.value for finding in diagnosis.findings}
    apart = max(abs((found[name] or 0) / value - 1) for name, value in expected.items())
    assert apart < 1e-4, f"the numbers differ by {apart:.1e}: {found} instead of {expected}"
    lengths = acts.lengths["exchange"]
    yield f"{len(samples)} texts of {np.mean(lengths):.0f} tokens on average; relative difference {apart:.1e}"
    yield (
        f"published procedure {best['plain']:.1f} CPU seconds, DeepSight {best['ours']:.1f}: ratio "
        f"{best['plain'] / best['ours']:.2f} (required: {REQUIRED})"
    )


def formulas(options: argparse.Namespace) -> Iterator[str]:
    """The quantities alone, at a larger width, on random vectors."""
    torch.set_num_threads(1)
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(options.rows, options.width)).astype(np.float32))
    y = torch.arange(options.rows) % 2
    start = time.process_time()
    expected = measure_plainly(z, y)
    plain = time.process_time() - start
    start = time.process_time()
    found = published(z.numpy(), y.numpy())
    mine = time.process_time() - start
    apart = max(abs(getattr(found, name) / value - 1) for name, value in expected.items())
    assert apart < 1e-3, f"the numbers differ by {apart:.1e}: {found} instead of {expected}"
    yield (
        f"formulas alone, {options.rows} rows of width {options.width}: {plain:.2f} against {mine:.2f} CPU seconds, "
        f"ratio {plain / mine:.1f} (relative difference {apart:.1e}; ours is float64)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--width", type=int, default=2048)
    chosen = parser.parse_args()
    for line in formulas(chosen):
        print(line, flush=True)
    if "DEEPSIGHT_DATA" in os.environ:
        for line in compare(chosen):
            print(line, flush=True)
    else:
        print("skipped: reading needs DEEPSIGHT_DATA, a folder with tellme")
