"""Load a backlog into a store: `tools/import_backlog --help`."""

import sys
from argparse import Namespace
from dataclasses import asdict

from cwstore import Store
from cwstore._transfer.backlog import import_backlog, read_backlog
from cwstore.cli import terminal
from cwstore.cli.output import with_output
from cwstore.cli.parser import run
from tools._python import arguments as accepted


def load(options: Namespace) -> int:
    """Import, print the outcome, return the exit code."""
    backlog = read_backlog(options.file)  # first: without one no store is made
    with Store.open(options.store) as store, terminal.progress("Importing") as bar:
        report = import_backlog(
            store,
            backlog,
            initiative=options.initiative,
            on_progress=lambda done, total: bar(done, total, f"{done:,} of {total:,}"),
        )
    if options.json:
        terminal.print_json({"adds_up": report.adds_up, **asdict(report)})
    else:
        for remark in report.left_out if options.all else ():
            terminal.say(f"left out: {remark}")
        for remark in report.refused:
            terminal.say(f"refused: {remark}")
        terminal.say(f"{report.summary}; {report.seconds:.2f} s.")
    if not report.adds_up:
        terminal.complain("import_backlog", "the store holds less, or more, than these numbers say")
    return 0 if report.adds_up else 1


if __name__ == "__main__":
    options = accepted.import_backlog().parse_args()
    sys.exit(with_output("import_backlog", lambda: run("import_backlog", load, options)))
