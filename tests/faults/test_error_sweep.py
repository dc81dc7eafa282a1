"""The n-th file operation fails: a true error, nothing half done, nothing lost, usable again."""

import errno
from collections.abc import Iterable
from pathlib import Path

import apsw
import pytest

from cwstore._sqlite import error_map, transaction
from cwstore.errors import OutcomeUnknownError, StorageError
from cwstore.store import Store
from tools._python.faults.error_sweep import KINDS, SUBJECTS, FailingDisk, Outcome, Sweep
from tools._python.faults.system_calls import Guard, watched

SUBJECT = {subject.name: subject for subject in SUBJECTS}


def swept(name: str, place: Path, every: int, kinds: Iterable[str] = KINDS) -> Outcome:
    with watched(str(place), Guard()) as calls:
        return Sweep(SUBJECT[name], place, calls).run(every, kinds)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("open", 23),
        pytest.param("open after a kill", 17, marks=pytest.mark.slow),
        ("close", 2),
        pytest.param("transaction over five", 13, marks=pytest.mark.slow),
        pytest.param("claim next", 17, marks=pytest.mark.slow),
        pytest.param("backup", 149, marks=pytest.mark.slow),
        pytest.param("prune", 83, marks=pytest.mark.slow),
        ("compact", 31),
        pytest.param("restore", 29, marks=pytest.mark.slow),
        pytest.param("restore after a kill", 29, marks=pytest.mark.slow),
        pytest.param("migrate 15", 149, marks=pytest.mark.slow),
        pytest.param("write while somebody listens", 13, marks=pytest.mark.slow),
    ],
)
def test_whatever_fails_is_told_truly_and_leaves_nothing_half_done(
    name: str, every: int, place: Path
) -> None:
    outcome = swept(name, place, every)

    assert outcome.faults == []
    assert outcome.trials >= 10


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("status", "stat", marks=pytest.mark.slow),
        pytest.param("restore after a kill", "sync", marks=pytest.mark.slow),
        ("migrate 15", "link"),
    ],
)
def test_one_kind_of_failure_at_each_place_is_told_truly(name: str, kind: str, place: Path) -> None:
    assert swept(name, place, 1, [kind]).faults == []


def test_a_file_that_cannot_be_made_on_a_full_disk_leaves_nothing_behind(place: Path) -> None:
    for at in range(1, 26):
        disk = FailingDisk("write", at, errno.ENOSPC, lasting=True)
        with watched(str(place), disk), pytest.raises(StorageError, match=r"is full|no room"):
            Store.open(place / "store.db", backup=False)
        assert list(place.glob(".*")) == []
        for one in place.iterdir():
            one.unlink()


# The sweep itself can fail


def test_a_commit_that_is_reported_as_kept_though_it_failed_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = transaction.TransactionStack.commit

    def commit_carelessly(stack: transaction.TransactionStack) -> None:
        try:
            commit(stack)
        except OutcomeUnknownError:
            pass

    monkeypatch.setattr(transaction.TransactionStack, "commit", commit_carelessly)
    faults = swept("durable write", place, 1, ["sync"]).faults

    assert any("done, but the file shows" in fault for fault in faults)


@pytest.mark.slow
def test_an_error_that_hides_its_cause_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(error_map._STORAGE, apsw.SQLITE_FULL, "something went wrong")
    faults = swept("claim", place, 5, ["write"]).faults

    assert any("not the cause: StorageError" in fault for fault in faults)
