"""deepsight compare A B: the same metrics over the samples that two runs share."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import hub_for


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", type=Path, help="a run directory")
    parser.add_argument("b", type=Path, help="another; differences are b - a")


def main(args: Namespace) -> int:
    from deepsight_core.comparison import compare_runs, table
    from deepsight_core.records import RunDirectory

    a, b = RunDirectory.existing(args.a), RunDirectory.existing(args.b)
    print(table(compare_runs(a, b, hub_for(a, b))))
    return 0
