"""deepsight resume RUN: go on with a run that was broken off."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import add_plugin_option, finish


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the run's directory")
    add_plugin_option(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def main(args: Namespace) -> int:
    from deepsight_core.config import configure
    from deepsight_core.hub import Hub
    from deepsight_core.progress import Progress
    from deepsight_core.records import RunDirectory
    from deepsight_core.session import resume

    config = configure(RunDirectory.existing(args.run).manifest().config)
    return finish(resume(args.run, Hub(files=args.plugin or config.plugins), Progress(args.quiet)))
