"""What diagnosing costs on top of evaluating: wall time of a joint run against the evaluation alone, on SmolLM2.

Both evaluate the same samples in fresh processes, in turn; the capture rides on generation's prefill.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

LIMIT = 160
ROUNDS = 2


def one(diagnose: bool) -> dict[str, float]:
    """Seconds by phase of one run in this process."""
    from deepsight_core import run

    with tempfile.TemporaryDirectory() as folder:
        made = run(
            {"name": "smollm2", "variant": "guarded"},
            [{"name": "contrast-pairs", "max_tokens": 32, "limit": LIMIT}],
            [{"name": "linear-probe"}, {"name": "x-boundary"}] if diagnose else [],
            out=folder, reports=[], quiet=True,
        )  # fmt: skip
        return dict(made.report.seconds)


def in_fresh_process(diagnose: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "joint" if diagnose else "alone"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    alone, joint = [], []
    for _ in range(ROUNDS):  # in turn, so that a busy moment of the machine hits both
        alone.append(in_fresh_process(diagnose=False))
        joint.append(in_fresh_process(diagnose=True))
    base = min(run["evaluate"] for run in alone)
    with_capture = min(run["evaluate"] + run["capture"] for run in joint)
    whole = min(run["evaluate"] + run["capture"] + run["diagnose"] for run in joint)
    print(f"evaluation of {LIMIT} samples alone: {base:.1f} s")
    print(f"with the captures of two diagnostics, all layers: {with_capture:.1f} s; ratio {with_capture / base:.3f}")
    print(f"with their statistics as well: {whole:.1f} s; ratio {whole / base:.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1] == "joint")))
    else:
        main()
