"""deepsight diagnose DIAGNOSTIC...: look inside a model, on a data set or on the samples of a finished run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import add_model_options, add_run_options, conduct, expand, finish


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("diagnostic", nargs="+", help="diagnostics, by name")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", help="a data set, whose samples are looked at without being asked")
    where.add_argument("--run", type=Path, help="a finished run: its model, samples and verdicts")
    parser.add_argument("--contrast", default="label:harmful", help="label:NAME[=VALUE] or verdict:LABEL")
    add_model_options(parser)
    add_run_options(parser)


def main(args: Namespace) -> int:
    from deepsight_core.config import override

    entries = [
        {"diagnostic": name, "contrast": args.contrast, **({"data": args.data} if args.data else {})}
        for name in args.diagnostic
    ]
    if args.run is None:
        table = {"roles": {"target": {"model": args.model}}, "diagnose": entries}
        return conduct(table, args, expand(args.set))
    from deepsight_core.hub import Hub
    from deepsight_core.progress import Progress
    from deepsight_core.session import resume

    entries = override({"diagnose": entries}, expand(args.set))["diagnose"]
    return finish(resume(args.run, Hub(files=args.plugin), Progress(args.quiet), entries))
