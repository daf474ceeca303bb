"""CPU time of `deepsight list-plugins` with 50 plugins installed, against an interpreter that does nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGINS = 50
METADATA = (
    "Metadata-Version: 2.4\nName: fake-{0}\nVersion: 1.0\nSummary: A fake plugin\nKeywords: risk:x,modality:text\n\n"
)


def cpu(*arguments: str, path: str) -> float:
    """Least CPU milliseconds of five runs."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PLUGINS):
            info = Path(folder) / f"fake_{number}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(METADATA.format(number) + "A long description. " * 500)
            (info / "entry_points.txt").write_text(f"[deepsight]\ndataset.fake-{number} = fake_{number}\n")
        code = "import sys; from deepsight_core.cli import main; sys.exit(main(['list-plugins']))"
        listing = cpu("-c", code, path=folder)
        nothing = cpu("-c", "pass", path=folder)
    print(f"list-plugins with {PLUGINS} more plugins: {listing:.0f} ms of CPU (asked for: at most 150)")
    print(f"an interpreter that does nothing: {nothing:.0f} ms; ratio {listing / nothing:.1f}")


if __name__ == "__main__":
    main()
