"""Holds the tests of a part collected, and runs some of them on each change, in a fork for each.

To import pytest, cwstore and the tests, and to collect them, takes longer than most changes need to
be noticed.
"""

import os
import resource
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools._python.mutation.put_in import put_in
from tools._python.mutation.reasons import Change

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CANNOT = "the change cannot be put into what is imported"
_PATIENCE = 20.0  # seconds for each test, and some times what it takes without a change
_MEMORY = 4 << 30  # bytes: a loop that does not end must not take those of the machine


class Host:
    """A plugin of pytest. It is asked `(change or None, [(test, seconds), ...])`.

    It says "" when it has collected the tests. It answers with the test that has noticed the
    change, "", or `CANNOT`; and whether that test took too long.
    """

    def __init__(self, asked: "Connection") -> None:
        self._asked = asked

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Until nobody asks any more."""
        if session.testsfailed:  # a file cannot be imported
            return True
        items = {item.nodeid: item for item in session.items}
        with suppress(EOFError):
            self._asked.send("")
            while True:
                change, tests = self._asked.recv()
                self._asked.send(_try(session, change, [(items[name], s) for name, s in tests]))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """It goes to the file `trial.log`."""
        if report.failed:
            print(report.nodeid, report.longreprtext, sep="\n", flush=True)


def _try(
    session: pytest.Session, change: Change | None, tests: list[tuple[pytest.Item, float]]
) -> tuple[str, bool]:
    """The test that failed or took too long, and whether it did that."""
    if not tests:
        return "", False
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _run(session, change, [item for item, _ in tests], tell)
    os.close(tell)
    ended = os.pidfd_open(pid)
    begun, longest = 0, _PATIENCE
    while True:
        ready, _, _ = select.select([told, ended], [], [], longest)
        hangs = not ready
        news = len(os.read(told, 4096)) if told in ready else 0
        if not news:
            break
        begun += news
        longest = _PATIENCE + 10 * max(seconds for _, seconds in tests[:begun][-news:])
    with suppress(ProcessLookupError):  # with all that it started
        os.killpg(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    os.close(told)
    os.close(ended)
    if status == 0:
        return "", False
    return (tests[begun - 1][0].nodeid if begun else CANNOT), hangs


def _run(
    session: pytest.Session, change: Change | None, items: list[pytest.Item], tell: int
) -> None:
    """In a process of its own: a byte for each test that begins; exits with 0 if all pass."""
    os.setsid()
    code = 1
    try:
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, most))
        if change:
            put_in(change)
        for item, after in zip(items, [*items[1:], None], strict=True):
            os.write(tell, b".")
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                break
        code = min(1, session.testsfailed)
    except BaseException:  # noqa: BLE001 the process must end here, whatever it is
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def begin(tree: Path, files: list[str], asked: "Connection") -> None:
    """Collect the tests of a copy of the checkout, and answer; does not return."""
    os.chdir(tree)
    log = os.open(tree / "trial.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    options = ["-q", "-m", "not slow and not postgresql", f"--basetemp={tree}/tmp"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already
    try:
        pytest.main([*options, *files], plugins=[Host(asked)])
    finally:
        sys.stdout.flush()
        os._exit(0)
