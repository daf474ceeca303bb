"""deepsight leaderboard RUN...: many runs side by side, safety against over-refusal."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import hub_for


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="+", type=Path, help="run directories, of the same data sets")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw safety against over-refusal as well")


def main(args: Namespace) -> int:
    from deepsight_core.frontier import svg
    from deepsight_core.leaderboard import leaderboard, table
    from deepsight_core.records import RunDirectory, write_text

    runs = [RunDirectory.existing(path) for path in args.run]
    board = leaderboard(runs, hub_for(*runs))
    print(table(board))
    if args.svg:
        write_text(args.svg, svg(board))
        print(f"\ndrawing: {args.svg}")
    return 0
