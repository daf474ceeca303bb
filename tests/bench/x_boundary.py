"""X-Boundary's capture by the published rules, against the same rules rendered plainly: run this file by itself.

Both read the same real texts with SmolLM2-135M-Instruct in float32, on one CPU thread, and are timed in CPU seconds,
which a busy machine disturbs little. The four numbers that come of it are compared first. Needs DEEPSIGHT_DATA.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepsight_core import Evidence, Finding, Sample, Source

if TYPE_CHECKING:
    from deepsight_x_boundary_texts import XBoundaryTexts

REQUIRED = 5.0
TOKENS = 1024


def plainly(model: Any, tokenizer: Any, samples: Sequence[Sample], batch: int) -> dict[int, dict[str, float]]:
    """The published numbers by `hidden_states` index: every text padded to 1,024 tokens, every layer and the logits
    kept, the masked mean over all tokens, distances between the centroids of the classes."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    depth = model.config.num_hidden_layers
    indices = (depth // 3, 2 * depth // 3)
    pooled: dict[int, list[Any]] = {index: [] for index in indices}
    for start in range(0, len(samples), batch):
        texts = [
            tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.text} for message in sample.messages], tokenize=False
            )
            for sample in samples[start : start + batch]
        ]
        encoded = tokenizer(
            texts,
            add_special_tokens=False,
            padding="max_length",
            truncation=True,
            max_length=TOKENS,
            return_tensors="pt",
        )
        given = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            states = model(**given, output_hidden_states=True).hidden_states
        mask = given["attention_mask"][:, :, None].float()
        for index in indices:
            pooled[index].append(((states[index] * mask).sum(1) / mask.sum(1).clamp(min=1e-9)).numpy())
    kinds = np.array([str(sample.labels["source"]) for sample in samples])
    return {index: _distances(np.concatenate(rows), kinds) for index, rows in pooled.items()}


def _distances(x: Any, kinds: Any) -> dict[str, float]:
    harmful, safe, boundary = (x[kinds == kind].mean(axis=0) for kind in ("harmful", "safe", "boundary"))
    to_safe, to_harmful = (float(np.linalg.norm(boundary - other)) for other in (safe, harmful))
    return {
        "separation_score": float(np.linalg.norm(safe - harmful)),
        "dist_bound_safe": to_safe,
        "dist_bound_harmful": to_harmful,
        "boundary_ratio": to_safe / to_harmful,
    }


def ours(inside: Any, samples: Sequence[Sample]) -> dict[int, dict[str, float]]:
    """The same through the diagnostic's reference mode and `Inside.run`."""
    from deepsight_x_boundary import XBoundary

    evidence, diagnostic = Evidence(tuple(samples)), XBoundary(mode="reference")
    acts = inside.run(diagnostic.wants(evidence, inside.geometry), evidence.prompts)
    found: dict[int, dict[str, float]] = {}
    for finding in diagnostic.diagnose(evidence, acts, inside).findings:
        if finding.site is not None and finding.value is not None:
            layer = finding.site.layer
            found.setdefault(0 if layer is None else layer + 1, {})[finding.name] = finding.value
    return found


def real_texts(per_class: int, safe: str, folder: Path) -> XBoundaryTexts:
    """AdvBench prompts with their target strings; dialogues of SafeMT, which are about as long as UltraChat's, or short
    exchanges of Alpaca; OR-Bench prompts with their answers."""
    from deepsight_x_boundary_texts import XBoundaryTexts

    data = Path(os.environ["DEEPSIGHT_DATA"])
    if safe == "safemt":
        rows = json.loads((data / "xboundary/SafeMT_train_600.json").read_text(encoding="utf-8"))
        exchanges = [(row["prompt"], row["output"]) for row in rows]
    else:
        exchanges = [
            (row["prompt"], row["response"]) for row in _table(data / "spin/alpaca_cleaned_no_safety_train_1k.csv")
        ]
    harmful = [
        {"prompt": row["goal"], "output": row["target"]} for row in _table(data / "advbench/harmful_behaviors.csv")
    ]
    dialogues = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
        for prompt, answer in exchanges
    ]
    for name, content in (("harmful", harmful), ("safe", dialogues)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    sources = {name: Source(path=folder / f"{name}.json") for name in ("harmful", "safe")}
    return XBoundaryTexts(per_class=per_class, **sources)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timed(work: Any, *given: Any) -> tuple[Any, float]:
    start = time.process_time()
    return work(*given), time.process_time() - start


def compare(options: argparse.Namespace) -> Iterator[str]:
    """The numbers of both, and what each costs."""
    from deepsight_smollm2 import SmolLM2

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, SmolLM2(dtype="float32").opened() as model:
        samples = list(real_texts(options.per_class or 8, options.safe, Path(folder)).samples())
        inside = model.inside()
        network, tokenizer = inside.sites.model, inside.renderer.tokenizer
        lengths = [len(inside.renderer.exchange(p.messages, p.answer)) for p in Evidence(tuple(samples)).prompts]
        yield f"{len(samples)} texts of {np.minimum(lengths, TOKENS).mean():.0f} tokens on average"
        best = {"plain": float("inf"), "ours": float("inf")}
        for _ in range(options.repeats):  # in turn, so that a busy machine slows both
            expected, seconds = timed(plainly, network, tokenizer, samples, options.batch)
            best["plain"] = min(best["plain"], seconds)
            found, seconds = timed(ours, model.inside(), samples)
            best["ours"] = min(best["ours"], seconds)
        apart = max(abs(found[i][n] / value - 1) for i, known in expected.items() for n, value in known.items())
        assert apart < 1e-4, f"the numbers differ by {apart:.1e}: {found} instead of {expected}"
        yield f"the numbers of layers {', '.join(map(str, expected))} are equal (relative difference {apart:.1e})"
        ratio = best["plain"] / best["ours"]
        yield (
            f"published procedure {best['plain']:.1f} CPU seconds, DeepSight {best['ours']:.1f}: ratio {ratio:.2f} "
            f"(required: {REQUIRED})"
        )


def figures(options: argparse.Namespace) -> Iterator[str]:
    """Both modes on more texts: every headline, and what is beside it."""
    from deepsight_core.config import configure
    from deepsight_core.hub import Hub
    from deepsight_core.progress import Progress
    from deepsight_core.session import execute

    with tempfile.TemporaryDirectory() as folder:
        data = real_texts(options.per_class or 100, options.safe, Path(folder))
        modes = ({"mode": "reference"}, {"mode": "corrected"})
        entries = [{"diagnostic": {"name": "x-boundary", **mode}, "data": data} for mode in modes]
        settings = {"roles": {"target": {"model": "smollm2", "dtype": "float32"}}, "diagnose": entries}
        made = execute(configure({**settings, "out": folder, "reports": []}), Hub(), Progress(quiet=True))
        for diagnosis in made.report.diagnoses:
            yield f"{diagnosis.mode}: {diagnosis.error or diagnosis.summary}"
            main = next((one.site for one in diagnosis.findings if one.headline), None)
            for one in diagnosis.findings:
                if diagnosis.mode == "reference" or one.site in (main, None):
                    yield f"  {_told(one)}"


def _told(one: Finding) -> str:
    layer = "" if one.site is None else f" (layer {one.site.layer})"
    value = "none" if one.value is None else f"{one.value:.3f}"
    interval = "" if one.low is None else f" [{one.low:.3f}, {one.high:.3f}]"
    null = "" if one.null_high is None else f", null band to {one.null_high:.3f}, p {one.p:.3f}"
    return f"{one.name}{layer}: {value}{interval}{null}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", action="store_true", help="measure nothing: print what both modes find")
    parser.add_argument("--per-class", type=int, help="8, or 100 with --figures")
    parser.add_argument("--safe", choices=("safemt", "alpaca"), default="safemt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    chosen = parser.parse_args()
    if "DEEPSIGHT_DATA" in os.environ:
        for line in (figures if chosen.figures else compare)(chosen):
            print(line, flush=True)
    else:
        print("skipped: set DEEPSIGHT_DATA to a folder with advbench, spin and xboundary")
