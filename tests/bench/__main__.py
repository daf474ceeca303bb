"""Run every benchmark, or those named on the command line: `python -m tests.bench engine listing`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def benchmarks() -> dict[str, Path]:
    """Name to script: those of the core, then those that plugins keep beside their code."""
    own = [path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("_")]
    theirs = sorted(ROOT.glob("plugins/*/*/benchmarks/*.py"))
    return {path.stem: path for path in (*own, *theirs)}


def main() -> int:
    chosen = sys.argv[1:] or list(benchmarks())
    failed = []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, str(benchmarks()[name])], cwd=ROOT, check=False).returncode:
            failed.append(name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
