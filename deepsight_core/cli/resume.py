"""deepsight resume RUN: go on with a run that was broken off."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import add_plugin_option, finish, hub_for


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the run's directory")
    add_plugin_option(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def main(args: Namespace) -> int:
    from deepsight_core.progress import Progress
    from deepsight_core.records import RunDirectory
    from deepsight_core.session import resume

    hub = hub_for(RunDirectory.existing(args.run), files=args.plugin)
    return finish(resume(args.run, hub, Progress(args.quiet)))
