"""Four diagnostics in one run against four runs of one each, on the same real prompts, on SmolLM2.

Every run is a process of its own: it loads the model, has it answer, captures, and diagnoses, as a user would who has
one tool for each. The findings of both ways are compared first. Needs DEEPSIGHT_DATA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from deepsight_core import Dataset, Sample

PROMPTS = 48
REQUIRED = 1.5
SPIN = {"first": "label:harmful", "second": "label:harmful=false", "examples": 12, "shares": [1e-4], "blocks": 3}
DIAGNOSTICS: dict[str, dict[str, Any]] = {
    "x-boundary": {"text": "exchange"},
    "tellme": {},
    "spin": SPIN,
    "mi-peaks": {"others": 2},
}


class Exchanges(Dataset):
    """Prompts of BeaverTails to be answered, half of them with an unsafe answer in the data; the data's answer is the
    reference answer."""

    name: ClassVar[str] = "exchanges"

    def samples(self) -> Iterator[Sample]:
        from deepsight_beavertails_tellme import BeaverTailsTellme

        seen: dict[bool, set[str]] = {True: set(), False: set()}
        for sample in BeaverTailsTellme().samples():
            harmful, prompt = bool(sample.labels["harmful"]), sample.messages[0].text
            if len(seen[harmful]) < PROMPTS // 2 and not any(prompt in prompts for prompts in seen.values()):
                seen[harmful].add(prompt)
                yield Sample(
                    id=sample.id, messages=sample.question, target=sample.messages[1].text, labels={"harmful": harmful}
                )


def conduct(names: list[str]) -> dict[str, Any]:
    """One run in this process: its wall time, by phase and in all, and the values of its findings."""
    from deepsight_core import run

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = run(
            "smollm2",
            [Exchanges(max_tokens=64)],
            [{"name": name, **DIAGNOSTICS[name]} for name in names],
            out=folder,
            reports=[],
            quiet=True,
        )
        report = made.report
    assert not any(diagnosis.error for diagnosis in report.diagnoses), [one.error for one in report.diagnoses]
    values = {d.diagnostic: [finding.value for finding in d.findings] for d in report.diagnoses}
    return {"wall": time.monotonic() - start, "seconds": dict(report.seconds), "values": values}


def in_fresh_process(*names: str) -> dict[str, Any]:
    """`conduct`, and the CPU seconds of the whole process."""
    before = os.times()
    done = subprocess.run([sys.executable, __file__, *names], stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "cpu": cpu}


def main() -> None:
    singly = {name: in_fresh_process(name) for name in DIAGNOSTICS}
    fused = in_fresh_process(*DIAGNOSTICS)
    for name, one in singly.items():
        assert len(one["values"][name]) == len(fused["values"][name]), name
        pairs = zip(one["values"][name], fused["values"][name], strict=True)
        apart = [abs(a - b) for a, b in pairs if a is not None and b is not None]
        assert max(apart) < 1e-2, f"{name} differs by {max(apart)}"
        print(f"{name} alone: {one['wall']:.1f} s, {one['cpu']:.1f} CPU seconds; by phase {one['seconds']}")
    print(f"all four: {fused['wall']:.1f} s, {fused['cpu']:.1f} CPU seconds; by phase {fused['seconds']}")
    for unit in ("wall", "cpu"):
        ratio = sum(one[unit] for one in singly.values()) / fused[unit]
        print(f"sum of the single runs / the fused run, {unit} time: {ratio:.2f} (required: {REQUIRED})")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(conduct(sys.argv[1:])))
    elif "DEEPSIGHT_DATA" in os.environ:
        main()
    else:
        print("skipped: set DEEPSIGHT_DATA to a folder with tellme")
