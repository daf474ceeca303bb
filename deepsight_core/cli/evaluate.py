"""deepsight evaluate DATASET...: evaluate a model on benchmarks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from deepsight_core.cli.common import DEFAULT_MODEL, add_model_options, add_run_options, conduct, expand


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="+", help="benchmarks, by name")
    add_model_options(parser)
    parser.add_argument("--limit", type=int, help="use at most so many samples of each")
    parser.add_argument("--diagnose", nargs="*", default=[], metavar="DIAGNOSTIC", help="diagnose the same samples")
    add_run_options(parser)


def main(args: Namespace) -> int:
    table = {
        "roles": {"target": {"model": args.model or DEFAULT_MODEL}},
        "evaluate": [{"dataset": name} for name in args.dataset],
        "diagnose": [{"diagnostic": name} for name in args.diagnose],
    }
    return conduct(table, args, expand(args.set, args.limit))
