"""The command `demo`. It prints, and returns its exit code."""

from argparse import Namespace
from dataclasses import asdict

from cwstore._demo.report import DemoReport
from cwstore._demo.run import run_demo
from cwstore.cli import terminal


def demo(options: Namespace) -> int:
    """Run the demo; 1 if it found what must not be."""
    with terminal.progress("Demo") as bar:
        report = run_demo(
            options.path, backlog=options.backlog, workers=options.workers, on_progress=bar
        )
    if options.json:
        terminal.print_json({"ok": report.ok, **asdict(report)})
    else:
        show(report)
    if not report.ok:
        problems = "; ".join(report.problems)
        terminal.complain("cwstore", f"the demo found what must not be: {problems}")
    return 0 if report.ok else 1


def show(report: DemoReport) -> None:
    """Print the table."""
    rows = [(f"tasks {status.replace('_', ' ')}", f"{n:,}") for status, n in report.tasks.items()]
    rows += [
        ("claims", f"{report.claims:,}"),
        ("claims made twice", f"{report.claims_made_twice:,}"),
        ("tasks run before a dependency was complete", f"{report.tasks_run_too_early:,}"),
        ("tasks left that could run", f"{report.tasks_left:,}"),
        ("tasks stuck", f"{report.tasks_stuck:,}"),
        ("results overwritten", f"{report.results_overwritten:,}"),
        ("busy errors", f"{report.busy_errors:,}"),
        ("attempts", f"{report.attempts:,}"),
        ("attempts that failed and were tried again", f"{report.attempts_failed:,}"),
        ("attempts lost with their worker", f"{report.attempts_lost:,}"),
        ("lost attempts recovered", f"{report.attempts_recovered:,}"),
        ("log chunks", f"{report.log_chunks:,}"),
        ("log bytes", f"{report.log_bytes:,}"),
        ("messages", f"{report.messages:,}"),
        ("conversations", f"{report.conversations:,}"),
        ("conversations answered", f"{report.conversations_answered:,}"),
        ("accounts exhausted", f"{report.accounts_exhausted:,}"),
        ("workers", f"{report.workers:,}"),
        ("workers killed by the demo", f"{report.workers_killed:,}"),
    ]
    if report.workers_ended_early > report.workers_killed:
        rows.append(("workers that ended early", f"{report.workers_ended_early:,}"))
    rows.append(("seconds", f"{report.seconds:.2f}"))
    if report.imported is not None:
        terminal.say(report.imported.summary)
        for remark in report.imported.refused:
            terminal.say(f"  refused: {remark}")
    terminal.table("All tasks are done" if report.ok else "Not as it must be", ("", ""), rows)
    terminal.say(f"The file is {report.path}")
