"""What several verbs share: options of a run, and how a finished run is shown."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepsight_core.hub import Hub
    from deepsight_core.records import RunDirectory
    from deepsight_core.session import Run


DEFAULT_MODEL = "smollm2"


def add_run_options(parser: ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override an entry")
    parser.add_argument("--name", help="name of the run (default: date, subject, model)")
    parser.add_argument("--out", help="folder of run directories (default: runs)")
    parser.add_argument("--seed", type=int, help="seed of every draw (default: 0)")
    add_plugin_option(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def add_plugin_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="use the plugin in a Python file as well"
    )


def add_model_options(parser: ArgumentParser) -> None:
    parser.add_argument("--model", help=f"model adapter of the role target (default: {DEFAULT_MODEL})")


def settings(args: Namespace) -> dict[str, Any]:
    """The entries of a run file that the common options stand for."""
    given = {"name": args.name, "out": args.out, "seed": args.seed, "plugins": tuple(args.plugin) or None}
    return {key: value for key, value in given.items() if value is not None}


def expand(assignments: list[str], limit: int | None = None, dataset: str = "evaluate.dataset") -> list[str]:
    """Shorthands of --set on the command line: `target.variant=x` for the role, `dataset.limit=5` for every data set
    (which stand at `dataset`), `diagnostic.mode=x` for every diagnostic."""
    shorthands = {"target.": "roles.target.", "dataset.": f"{dataset}.", "diagnostic.": "diagnose.diagnostic."}
    expanded = []
    for assignment in assignments:
        short = next((short for short in shorthands if assignment.startswith(short)), None)
        expanded.append(shorthands[short] + assignment[len(short) :] if short else assignment)
    return expanded + ([f"evaluate.dataset.limit={limit}"] if limit is not None else [])


def hub_for(*runs: RunDirectory, files: Iterable[str] = ()) -> Hub:
    """A hub that also knows the local plugin files with which the runs were made."""
    from deepsight_core.config import configure
    from deepsight_core.hub import Hub

    made_with = (file for run in runs for file in configure(run.manifest().config).plugins)
    return Hub(files=dict.fromkeys([*files, *made_with]))


def finish(run: Run) -> int:
    """Print a finished run; the exit status tells whether a diagnostic failed."""
    from deepsight_core.errors import DiagnosticError
    from deepsight_core.report import terminal

    report = run.report
    print(terminal(report))
    html = run.path / "report.html"
    print(f"\nreport: {html if html.exists() else run.path / 'report.md'}")
    return DiagnosticError.exit_code if any(diagnosis.error for diagnosis in report.diagnoses) else 0


def conduct(table: dict[str, Any], args: Namespace, assignments: list[str]) -> int:
    """Run a table of a run file with the command line's overrides."""
    from deepsight_core.config import configure, override
    from deepsight_core.hub import Hub
    from deepsight_core.progress import Progress
    from deepsight_core.session import execute

    config = configure(override({**table, **settings(args)}, assignments))
    return finish(execute(config, Hub(files=config.plugins), Progress(args.quiet)))
