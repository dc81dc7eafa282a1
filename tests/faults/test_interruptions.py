"""Interruption at any moment: the file is whole, no lock is left, the store goes on."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from cwstore._sqlite.transaction import TransactionStack
from tools._python.faults.interruptions import SUBJECTS, WAYS

SUBJECT = {subject.name: subject for subject in SUBJECTS}


@pytest.fixture(autouse=True)
def free_what_was_left() -> Iterator[None]:
    """Here, where its warning is expected: collected later, it would fail another test."""
    yield
    gc.collect()


# What is raised in a finalizer Python itself drops, and says so.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("way", "name", "every"),
    [
        ("ctrl-c", "transaction over five", 299),
        ("ctrl-c", "claim next", 149),
        pytest.param("ctrl-c", "backup", 9, marks=pytest.mark.slow),
        pytest.param("ctrl-c", "open", 331, marks=pytest.mark.slow),
        pytest.param("ctrl-c", "close", 31, marks=pytest.mark.slow),
        pytest.param("ctrl-c", "restore", 101, marks=pytest.mark.slow),
        pytest.param("ctrl-c", "migrate 15", 211, marks=pytest.mark.slow),
        pytest.param("handlers", "transaction over five", 17, marks=pytest.mark.slow),
        ("handlers", "claim next", 53),
        pytest.param("limits", "transaction over five", 9, marks=pytest.mark.slow),
        ("limits", "open", 61),
        pytest.param("clocks", "transaction over five", 13, marks=pytest.mark.slow),
        pytest.param("clocks", "backup", 5, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_leaves_a_whole_file_and_a_store_that_goes_on(
    way: str, name: str, every: int, place: Path
) -> None:
    outcome = WAYS[way](SUBJECT[name], place, every)

    assert outcome.faults == []
    assert outcome.trials >= 4


# The sweep itself can fail


@pytest.mark.slow
def test_a_lock_that_is_left_behind_by_ctrl_c_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = TransactionStack.end

    def end_carelessly(stack: TransactionStack) -> None:
        if not stack._depth:
            end(stack)

    monkeypatch.setattr(TransactionStack, "end", end_carelessly)
    faults = WAYS["ctrl-c"](SUBJECT["projects"], place, 29).faults

    assert any("cannot be closed" in fault for fault in faults)
