"""X-Boundary and TELLME on the same texts: two published sweeps, rendered plainly, against one run of both.

Answers of BeaverTails, read with SmolLM2-135M-Instruct in float32 on one CPU thread, in CPU seconds. The published
numbers of both are compared before anything is said about time. Needs DEEPSIGHT_DATA.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tellme
import torch
import x_boundary

from deepsight_core import Evidence, Sample

REQUIRED = 5.0


def texts(count: int) -> list[Sample]:
    """Unsafe, safe, and, as a boundary class, other safe answers."""
    found = tellme.texts(count)
    third = [sample for sample in found if not sample.labels["harmful"]][::2]
    sources = {sample.id: "harmful" if sample.labels["harmful"] else "safe" for sample in found}
    sources.update((sample.id, "boundary") for sample in third)
    return [
        sample.model_copy(
            update={"labels": {**sample.labels, "source": sources[sample.id], "boundary": sample in third}}
        )
        for sample in found
    ]


def plainly(network: Any, tokenizer: Any, samples: list[Sample], batch: int) -> dict[str, Any]:
    """A sweep for each."""
    tokenizer.padding_side = "right"
    geometry = x_boundary.plainly(network, tokenizer, samples, batch)
    y = torch.tensor([not sample.labels["harmful"] for sample in samples]).long()
    rates = tellme.measure_plainly(tellme.read_plainly(network, tokenizer, samples, batch), y)
    return {"x-boundary": geometry, "tellme": rates}


def ours(inside: Any, samples: list[Sample]) -> dict[str, Any]:
    """One run for both, in reference mode."""
    from deepsight_tellme import Tellme
    from deepsight_x_boundary import XBoundary

    evidence = Evidence(tuple(samples))
    both = (XBoundary(mode="reference"), Tellme(mode="reference"))
    wants = [want for one in both for want in one.wants(evidence, inside.geometry)]
    acts = inside.run(wants, evidence.prompts)
    geometry: dict[int, dict[str, float]] = {}
    for finding in both[0].diagnose(evidence, acts, inside).findings:
        if finding.site is not None and finding.value is not None:
            geometry.setdefault((finding.site.layer or 0) + 1, {})[finding.name] = finding.value
    rates = {finding.name.lower(): finding.value for finding in both[1].diagnose(evidence, acts, inside).findings}
    return {"x-boundary": geometry, "tellme": rates}


def compare(options: argparse.Namespace) -> Iterator[str]:
    from deepsight_smollm2 import SmolLM2

    torch.set_num_threads(1)
    with SmolLM2(dtype="float32").opened() as model:
        samples = texts(options.texts)
        inside = model.inside()
        network, tokenizer = inside.sites.model, inside.renderer.tokenizer
        side = tokenizer.padding_side
        expected, plain = x_boundary.timed(plainly, network, tokenizer, samples, options.batch)
        tokenizer.padding_side = side
        found, mine = x_boundary.timed(ours, inside, samples)
        lengths = [len(inside.renderer.exchange(p.messages, p.answer)) for p in Evidence(tuple(samples)).prompts]
    pairs = [
        *(
            (found["x-boundary"][i][n], value)
            for i, known in expected["x-boundary"].items()
            for n, value in known.items()
        ),
        *((found["tellme"][name], value) for name, value in expected["tellme"].items()),
    ]
    apart = max(abs(one / other - 1) for one, other in pairs)
    assert apart < 1e-4, f"the numbers differ by {apart:.1e}: {found} instead of {expected}"
    yield f"{len(samples)} texts of {np.mean(lengths):.0f} tokens on average; relative difference {apart:.1e}"
    yield (
        f"published procedures {plain:.1f} CPU seconds, DeepSight {mine:.1f}: ratio {plain / mine:.2f} "
        f"(required: {REQUIRED})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    chosen = parser.parse_args()
    if "DEEPSIGHT_DATA" in os.environ:
        for line in compare(chosen):
            print(line, flush=True)
    else:
        print("skipped: set DEEPSIGHT_DATA to a folder with tellme")
