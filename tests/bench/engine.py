"""The engine's own cost: samples a second with an instant model, against a bare loop that writes the same records; and
peak memory at two sizes of data set."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time

from deepsight_core import Record
from deepsight_core.discovery import Catalogue
from deepsight_core.hub import Hub
from deepsight_core.session import run
from deepsight_core.testing import KeywordJudge, ScriptedModel, TinyDataset

SIZES = (10_000, 200_000)


def engine(size: int) -> dict[str, float]:
    """A whole run in this process: samples a second while evaluating, peak memory in MiB."""
    hub = Hub(Catalogue())
    hub.adopt(KeywordJudge)
    with tempfile.TemporaryDirectory() as folder:
        made = run(ScriptedModel(), [TinyDataset(size=size)], hub=hub, out=folder, quiet=True)
        seconds = made.report.seconds["evaluate"]
        assert made.report.counts["records"] == size
    return {"rate": size / seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def bare_loop(size: int) -> float:
    """Samples a second of the plainest loop: ask, judge, append one line."""
    model, judge = ScriptedModel(), KeywordJudge()
    dataset = TinyDataset(size=size)
    with tempfile.NamedTemporaryFile("w") as file:
        began = time.perf_counter()
        for sample in dataset.samples():
            record = Record(dataset="tiny", sample=sample, output=model.generate([dataset.ask(sample.messages)])[0])
            verdict = judge.judge(record)
            file.write(record.model_copy(update={"judgements": (verdict,)}).model_dump_json() + "\n")
        file.flush()
        return size / (time.perf_counter() - began)


def in_fresh_process(size: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, str(size)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    small, large = (in_fresh_process(size) for size in SIZES)
    bare = bare_loop(SIZES[0])
    print(f"engine: {large['rate']:,.0f} samples/s, everything on disk (asked for: 3,000)")
    print(f"bare loop that writes records only: {bare:,.0f} samples/s; ratio {large['rate'] / bare:.2f}")
    print(f"peak memory: {small['peak']:.0f} MiB at {SIZES[0]:,} samples, {large['peak']:.0f} MiB at {SIZES[1]:,}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(engine(int(sys.argv[1]))))
    else:
        main()
