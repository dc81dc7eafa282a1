import sys

import pytest

from tools._python.failover import __main__ as tool
from tools._python.failover.counts import Counts, Told, count

GOOD = Counts(
    acknowledged=2, lost=0, claimed_twice=0, refused=0, made_though_refused=0, unknown=0, others=()
)
LOSSES = Counts(
    acknowledged=2, lost=1, claimed_twice=0, refused=0, made_though_refused=0, unknown=0, others=()
)


def test_what_writers_were_told_is_held_against_what_is_there() -> None:
    one = Told(
        "ann",
        created=["a", "b"],
        claimed=["a", "a", "c"],
        completed=["a", "c"],
        never_made=["d", "e", "f"],
        refused=3,
        unknown=1,
    )
    two = Told("bob", created=["c"], claimed=["c"], others=["ValueError: x"], unknown=2)

    found = count([one, two], {"a": "completed", "c": "in_progress", "e": "pending"})

    assert found == Counts(
        acknowledged=5,
        lost=2,  # `b` is not there, and `c` is not completed
        claimed_twice=1,  # `c`; one agent may be given `a` again
        refused=3,
        made_though_refused=1,
        unknown=3,
        others=("ValueError: x",),
    )
    assert not found.ok
    assert count([], {}) == Counts(0, 0, 0, 0, 0, 0, ())


@pytest.mark.parametrize(
    ("kept", "control", "code"),
    [(GOOD, LOSSES, 0), (LOSSES, LOSSES, 1), (GOOD, GOOD, 1)],
)
def test_the_tool_fails_if_a_row_is_lost_or_its_control_loses_none(
    monkeypatch: pytest.MonkeyPatch, kept: Counts, control: Counts, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/failover"])
    monkeypatch.setattr(
        tool, "run", lambda options, kills, *, synchronous: kept if synchronous else control
    )
    assert tool.main() == code


def test_the_figures_are_told_in_lines() -> None:
    assert tool.lines_of(LOSSES, [20.4, 19.0, 24.6]) == (
        "  acknowledged writes 2, of these lost 1\n"
        "  tasks claimed twice 0\n"
        "  refused 0, of these done 0\n"
        "  outcome unknown 0\n"
        "  a write again after 19 to 25 s, median 20 s"
    )
