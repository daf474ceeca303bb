"""Time the capture pass against transformers' own `output_hidden_states` and against nnsight, after asserting that all
three agree; then what more sites, no shared beginning and long prompts cost, and what a stream of prompts takes.

    DEEPSIGHT_DATA=<folder with advbench/ and alpaca/> python -m tests.bench capture

128 chat prompts, 64 harmful and 64 harmless (made up where DEEPSIGHT_DATA has no rows), last token, fp32,
SmolLM2-135M-Instruct or `--model`. Both baselines read batches of 16, padded on the left; ours recomputes two texts as
its guard each time. Seconds are CPU seconds, of all threads together: set OMP_NUM_THREADS=1 on a shared machine. Each
ratio stands beside what is asked of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepsight_torch import Renderer, TransformersInside
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from deepsight_core import Prompt, Want, user
from deepsight_core.inside import Array, ClassMoments, Last

BATCH = 16
SITES = ("resid_in", "resid_mid", "resid_out", "attn_out", "mlp_out", "head")
LONG = 2000
STREAMS = (10_000, 100_000)
Job = Callable[[], Any]


def prompts(count: int) -> list[Prompt]:
    """Half of them harmful, half harmless."""
    folder = Path(os.environ.get("DEEPSIGHT_DATA", "nowhere"))
    harmful, harmless = folder / "advbench" / "harmful_behaviors.csv", folder / "alpaca" / "harmless_val.json"
    if harmful.is_file() and harmless.is_file():
        with harmful.open(encoding="utf-8", newline="") as file:
            bad = [row["goal"] for row in csv.DictReader(file)]
        good = [row["instruction"] for row in json.loads(harmless.read_text(encoding="utf-8"))]
        texts = [*bad[: count // 2], *good[: count - count // 2]]
    else:
        ends = ("a bicycle", "the lock of a door", "a letter to the neighbours", "bread without yeast, step by step")
        texts = [f"Explain how to make {ends[n % 4]}{', in detail' * (n % 3)}, version {n}." for n in range(count)]
    return [Prompt(id=f"{n}", messages=(user(text),)) for n, text in enumerate(texts)]


def longer(short: Sequence[Prompt], renderer: Renderer, count: int, tokens: int) -> list[Prompt]:
    """Prompts of about so many tokens, made of the words of the short ones; each begins differently."""
    made = []
    for number in range(count):
        words = " ".join(prompt.messages[0].text for prompt in [*short[number:], *short[:number]]) * 20
        ids = renderer.tokenizer(words, add_special_tokens=False)["input_ids"][:tokens]
        made.append(Prompt(id=f"long {number}", messages=(user(renderer.tokenizer.decode(ids)),)))
    return made


def padded(texts: Sequence[Sequence[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and mask of batches in the order given, padded on the left."""
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(text)) + list(text) for text in batch])
        mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in batch])
        yield ids, mask


def with_hidden_states(model: Any, texts: Sequence[Sequence[int]]) -> Array:
    """The usual recipe: (texts, layers - 1, width); the last layer is reported after the final norm."""
    found = []
    for ids, mask in padded(texts):
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
        found.append(torch.stack([state[:, -1] for state in states[1:-1]], dim=1).numpy())
    return np.concatenate(found)


def with_nnsight(traced: Any, texts: Sequence[Sequence[int]], layers: Sequence[int]) -> Array:
    """nnsight's trace, stopped after the last layer wanted: (texts, layers, width)."""
    found = []
    for ids, mask in padded(texts):
        saved: list[Any] = []
        with (
            torch.inference_mode(),
            traced.trace(input_ids=ids, attention_mask=mask, use_cache=False) as tracer,
        ):
            for layer in layers:
                saved.append(traced.model.layers[layer].output[:, -1].save())
            tracer.stop()
        found.append(torch.stack(saved, dim=1).numpy())
    return np.concatenate(found)


def traced(model: Any) -> Any | None:
    """The model as nnsight sees it; None, saying so, where nnsight is not installed."""
    try:
        from nnsight import NNsight
    except ImportError:
        print("nnsight is not installed (the dev extra has it): no comparison with it")
        return None
    return NNsight(model)


def best(jobs: dict[str, Job], repeats: int) -> dict[str, float]:
    """CPU seconds of the fastest of a few repeats of each job, in turn, so that a busy moment hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: min(seconds) for name, seconds in times.items()}


def agree(ours: Array, theirs: Array, what: str) -> None:
    """Raises AssertionError when any vector differs by more than 1e-5 of its length."""
    off = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert off.max() < 1e-5, f"{what}: vectors differ by up to {off.max():.1e}"
    print(f"{what}: equal, but for {off.max():.1e} of the length of a vector", flush=True)


def say(what: str, seconds: float, baselines: dict[str, tuple[float, str]]) -> None:
    """One line: our seconds, and the ratio to each baseline with what is asked of it."""
    ratios = [f"{name} {time:.2f} s, ratio {time / seconds:.2f}{asked}" for name, (time, asked) in baselines.items()]
    print(f"{what}: {seconds:.2f} s; {'; '.join(ratios)}", flush=True)


class Comparison:
    """One model, opened by all three."""

    def __init__(self, model: Any, renderer: Renderer, repeats: int) -> None:
        self.model, self.renderer, self.repeats = model, renderer, repeats
        self.inside = TransformersInside(model, renderer, digest="benchmark")
        self.traced = traced(model)
        self.layers = range(self.inside.geometry.layers)

    def texts(self, chosen: Sequence[Prompt]) -> list[tuple[int, ...]]:
        return [self.renderer.prompt(prompt.messages).ids for prompt in chosen]

    def last_token(self, chosen: Sequence[Prompt], what: str, asked: tuple[str, str] = ("", "")) -> None:
        """All layers, against both."""
        want, texts = Want(), self.texts(chosen)
        ours = self.inside.run([want], chosen)[want][:, :, 0]
        agree(ours[:, :-1], with_hidden_states(self.model, texts), f"{what}, output_hidden_states")
        jobs: dict[str, Job] = {
            "ours": lambda: self.inside.run([want], chosen),
            "output_hidden_states": lambda: with_hidden_states(self.model, texts),
        }
        if self.traced:
            agree(ours, with_nnsight(self.traced, texts, self.layers), f"{what}, nnsight")
            jobs["nnsight"] = lambda: with_nnsight(self.traced, texts, self.layers)
        self.report(f"{what}, all layers", jobs, asked)

    def one_layer(self, chosen: Sequence[Prompt]) -> None:
        """The middle one, against both; transformers cannot stop earlier."""
        middle, texts = len(self.layers) // 2, self.texts(chosen)
        want = Want(layers=(middle,))
        jobs: dict[str, Job] = {
            "ours": lambda: self.inside.run([want], chosen),
            "output_hidden_states": lambda: with_hidden_states(self.model, texts),
        }
        if self.traced:
            agree(
                self.inside.run([want], chosen)[want][:, :, 0],
                with_nnsight(self.traced, texts, [middle]),
                f"layer {middle}, nnsight",
            )
            jobs["nnsight"] = lambda: with_nnsight(self.traced, texts, [middle])
        self.report(f"layer {middle} alone", jobs, (" (asked for: 3)", " (asked for: 1.5)"))

    def many_sites(self, chosen: Sequence[Prompt]) -> None:
        """Six sites at five positions, against one site at one."""
        one, many = [Want()], [Want(site=site, positions=Last(k=5)) for site in SITES]
        acts = self.inside.run(many, chosen)
        agree(acts[many[2]][:, :, -1], self.inside.run(one, chosen)[one[0]][:, :, 0], "six sites, one site")
        agree(acts[many[0]] + acts[many[3]] + acts[many[4]], acts[many[2]], "what is written adds up")
        times = best(
            {"one": lambda: self.inside.run(one, chosen), "many": lambda: self.inside.run(many, chosen)}, self.repeats
        )
        print(
            f"six sites x {len(self.layers)} layers x 5 positions: {times['many']:.2f} s; one site and position "
            f"{times['one']:.2f} s, ratio {times['many'] / times['one']:.2f} (asked for: at most 1.15)",
            flush=True,
        )

    def without_prefix(self, chosen: Sequence[Prompt]) -> None:
        """As if the texts began with nothing in common."""
        shares, self.inside.sites.shares_prefix = self.inside.sites.shares_prefix, False
        try:
            self.last_token(chosen, "no shared beginning")
        finally:
            self.inside.sites.shares_prefix = shares

    def report(self, what: str, jobs: dict[str, Job], asked: tuple[str, str]) -> None:
        times = best(jobs, self.repeats)
        ours = times.pop("ours")
        say(what, ours, {name: (time, asked[number]) for number, (name, time) in enumerate(times.items())})


def stream(count: int) -> Iterator[Prompt]:
    """Short prompts, all different, in two classes."""
    for number in range(count):
        yield Prompt(id=f"{number}", messages=(user(" ".join(f"{number:06d}")),), labels={"odd": number % 2 == 1})


def moments(count: int) -> dict[str, float]:
    """Class moments of a stream of prompts on a tiny random model: seconds, and peak memory in MiB."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    raw = Tokenizer(models.WordLevel({**{f"{n}": n for n in range(10)}, "?": 10}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(
        vocab_size=11, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4
    )
    renderer = Renderer(PreTrainedTokenizerFast(tokenizer_object=raw), "plain")
    inside = TransformersInside(AutoModelForCausalLM.from_config(config).eval(), renderer, digest="tiny")
    want = Want(collect=ClassMoments(by="odd"))
    start = time.perf_counter()
    found = inside.run([want], stream(count)).moments[want]
    assert found.counts.tolist() == [count - count // 2, count // 2]
    return {"seconds": time.perf_counter() - start, "peak": peak_memory()}


def peak_memory() -> float:
    """MiB that this process took at most; what its parent took does not count, as it does in `getrusage`."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def flat(sizes: Sequence[int]) -> None:
    """Peak memory of streams of two sizes, each in a process of its own."""
    found = []
    for size in sizes:
        command = [sys.executable, __file__, "--stream", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            f"class moments of {size:,} prompts: {found[-1]['seconds']:.1f} s, peak memory {found[-1]['peak']:.0f} MiB"
        )
    print(f"growth from the one to the other: {found[1]['peak'] - found[0]['peak']:.0f} MiB (asked for: none)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or hub id; SmolLM2-135M-Instruct by default")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, default=4, help=f"prompts of about {LONG} tokens; 0 for none")
    parser.add_argument("--streams", type=int, nargs=2, default=STREAMS, help="sizes of the two streams")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        print(json.dumps(moments(options.stream)))
        return
    weights = options.model
    if weights is None:
        from deepsight_smollm2.weights import HUB_ID, plain_weights

        weights = plain_weights() or HUB_ID
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    comparison = Comparison(model, Renderer(AutoTokenizer.from_pretrained(weights)), options.repeats)
    chosen = prompts(options.prompts)
    print(f"{len(chosen)} prompts, {sum(map(len, comparison.texts(chosen)))} tokens", flush=True)
    comparison.last_token(chosen, "last token", (" (asked for: 1.5)", " (asked for: 1.3)"))
    comparison.one_layer(chosen)
    comparison.many_sites(chosen)
    comparison.without_prefix(chosen)
    if options.long:
        many = longer(chosen, comparison.renderer, options.long, LONG)
        comparison.last_token(many, f"{options.long} prompts of about {LONG} tokens")
    flat(options.streams)


if __name__ == "__main__":
    main()
