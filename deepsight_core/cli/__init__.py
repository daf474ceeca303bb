"""The command line. Each verb is a small module, imported when it runs, so that help and listing stay instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from deepsight_core import __version__
from deepsight_core.errors import DeepSightError, Interrupted

VERBS = {
    "run": "evaluate and diagnose as a run file says",
    "evaluate": "evaluate a model on benchmarks",
    "diagnose": "look inside a model, on a data set or on a finished run",
    "resume": "go on with a run that was broken off",
    "report": "show finished runs and write their reports anew",
    "compare": "compare two runs on the samples that they share",
    "leaderboard": "set many runs side by side, safety against over-refusal",
    "list-plugins": "list what is installed",
    "show": "show one component: what it is, its options",
    "doctor": "check the installation and say what to do",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if given[0] == "--version":
        print(f"deepsight {__version__}")
        return 0
    if given[0] not in VERBS:
        print(f"deepsight: unknown command {given[0]!r}; `deepsight --help` lists them", file=sys.stderr)
        return 2
    try:
        return _run_verb(given[0], given[1:])
    except Interrupted as error:
        _complain(error)
        sys.stdout.flush()
        os._exit(error.exit_code)  # a model may be in the middle of a batch, in a thread that cannot be stopped
    except DeepSightError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("deepsight: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `deepsight ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run_verb(verb: str, rest: Sequence[str]) -> int:
    module = import_module(f"deepsight_core.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(f"deepsight {verb}", description=f"{VERBS[verb].capitalize()}.")
    module.add_arguments(parser)
    status: int = module.main(parser.parse_args(rest))
    return status


def _overview() -> str:
    lines = [
        "usage: deepsight COMMAND [...]",
        "",
        "Evaluate the safety of language models, diagnose them from the inside, and join the two.",
        "",
        *(f"  {verb:<14} {text}" for verb, text in VERBS.items()),
        "",
        "`deepsight COMMAND --help` says more.",
    ]
    return "\n".join(lines)


def _complain(error: DeepSightError) -> None:
    from deepsight_core.secrets import scrub

    sys.stderr.flush()
    print(f"deepsight: {scrub(str(error))}", file=sys.stderr, flush=True)
