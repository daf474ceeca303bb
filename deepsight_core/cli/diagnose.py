"""deepsight diagnose DIAGNOSTIC...: look inside a model, on a data set or on the samples of a finished run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import (
    DEFAULT_MODEL,
    add_model_options,
    add_run_options,
    conduct,
    expand,
    finish,
    hub_for,
)
from deepsight_core.errors import ConfigError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("diagnostic", nargs="+", help="diagnostics, by name")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", help="a data set, whose samples are looked at without being asked")
    where.add_argument("--run", type=Path, help="a finished run: its model, samples and verdicts")
    parser.add_argument(
        "--contrast", default="label:harmful", help="label:NAME[=VALUE] or verdict:LABEL, or several joined by ' & '"
    )
    add_model_options(parser)
    add_run_options(parser)


def main(args: Namespace) -> int:
    from deepsight_core.config import override

    entries = [
        {"diagnostic": name, "contrast": args.contrast, **({"data": args.data} if args.data else {})}
        for name in args.diagnostic
    ]
    if args.run is None:
        table = {"roles": {"target": {"model": args.model or DEFAULT_MODEL}}, "diagnose": entries}
        return conduct(table, args, expand(args.set, dataset="diagnose.data"))
    for option in ("model", "name", "out", "seed"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option} does not go with --run: the run has a model, a name, a place and a seed")
    from deepsight_core.progress import Progress
    from deepsight_core.records import RunDirectory
    from deepsight_core.session import resume

    entries = override({"diagnose": entries}, expand(args.set))["diagnose"]
    hub = hub_for(RunDirectory.existing(args.run), files=args.plugin)
    return finish(resume(args.run, hub, Progress(args.quiet), entries))
