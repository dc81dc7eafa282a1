"""Every statement of the package is checked, and the tool says so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cwstore.testing import Report
from tools._python.checked import ALLOWED, check_all

ROOT = Path(__file__).resolve().parents[2]
# In one worker, so that the report is made once.
pytestmark = pytest.mark.xdist_group("statements")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools._python.check_statements", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


MAKES_STATEMENTS = re.compile(r"\b(rows_of|task_rows|values_of)\(")


# Of the session: tests of other modules may come between those of this one.
@pytest.fixture(scope="session")
def report() -> Report:
    return check_all()


def test_no_statement_of_the_package_has_a_fault(report: Report) -> None:
    report.expect_no_faults()
    assert len(report.lines) > 100


def test_nothing_but_plans_is_tolerated() -> None:
    assert ALLOWED.keys() == {"scan", "sort"}


def test_every_allowance_is_for_a_module_that_is_checked(report: Report) -> None:
    modules = {line.subject.partition(".")[0] for line in report.lines}
    allowed = {subject.partition(".")[0] for one in ALLOWED.values() for subject in one}
    assert allowed - modules == set()


def test_every_module_with_statements_is_in_the_report(report: Report) -> None:
    modules = {line.subject.partition(".")[0] for line in report.lines}
    makers = (
        path.stem
        for path in (ROOT / "cwstore").rglob("*.py")
        if path.stem != "statement" and MAKES_STATEMENTS.search(path.read_text(encoding="utf-8"))
    )
    assert set(makers) == modules
    assert modules >= {"initiatives", "tasks", "log_chunks"}


@pytest.mark.parametrize(
    ("statement", "entry"),
    [("_READY", "tasks_ready_ix ("), ("_READY_OF_INITIATIVE", "_ix (initiative_id=? AND ")],
)
@pytest.mark.parametrize("beyond", [">", "<"])
def test_a_page_of_ready_tasks_looks_at_no_task_that_lies_before_it(
    report: Report, statement: str, entry: str, beyond: str
) -> None:
    """The index is entered at the place, in its priority, and at the priorities behind it."""
    (plan,) = (
        "\n".join(line.plan)
        for line in report.lines
        if line.subject == f"ready_tasks.{statement}.find"
    )
    assert f"{entry}<expr>=? AND (sort_order,created_at,id){beyond}(?,?,?))" in plan
    assert f"{entry}<expr>{beyond}?)" in plan


@pytest.mark.slow
def test_the_tool_shows_plan_tables_and_indexes_of_each_statement_and_finds_no_fault() -> None:
    done = run("--table")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "tasks._FIND_PENDING_APPROVAL\n"
        "    SCAN tasks USING INDEX tasks_pending_approval_ix\n"
        "    SEARCH tasks USING INDEX tasks_pending_approval_ix ((created_at,id)>(?,?))\n"
        "    SEARCH tasks USING INDEX tasks_pending_approval_ix ((created_at,id)<(?,?))\n"
        "    reads: tasks | writes: - | indexes: tasks_pending_approval_ix\n"
    ) in done.stdout
    assert done.stdout.endswith(" statements, 0 faults\n")


def test_the_tool_refuses_what_it_does_not_know() -> None:
    assert run("--tables").returncode == 2
