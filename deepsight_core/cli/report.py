"""deepsight report RUN...: show finished runs and write their reports anew."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from deepsight_core.cli.common import hub_for


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="+", type=Path, help="run directories")
    parser.add_argument("--with", dest="reporter", action="append", help="a reporter (default: all installed)")
    parser.add_argument("--json", action="store_true", help="print report.json instead")


def main(args: Namespace) -> int:
    from deepsight_core.components import Reporter
    from deepsight_core.records import RunDirectory, write_text
    from deepsight_core.report import markdown, terminal

    for path in args.run:
        run = RunDirectory.existing(path)
        report = run.report()
        if args.json:
            print(report.model_dump_json(indent=1))
            continue
        print(terminal(report))
        write_text(path / "report.md", markdown(report))
        print(f"\nreport: {path / 'report.md'}")
        hub = hub_for(run)
        for name in args.reporter or hub.names("reporter"):
            reporter = hub.create("reporter", name)
            assert isinstance(reporter, Reporter)
            print(f"report: {reporter.write(path)}")
    return 0
