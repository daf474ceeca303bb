"""deepsight run RUN.toml: evaluate and diagnose as a run file says."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import add_run_options, conduct, expand


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a run file (TOML), or the manifest.json of an earlier run")
    add_run_options(parser)


def main(args: Namespace) -> int:
    from deepsight_core.config import load

    table = load(args.file)
    if args.file.suffix == ".json":
        table.pop("name", None)  # an earlier run keeps its directory
    return conduct(table, args, expand(args.set))
