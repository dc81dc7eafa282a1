"""Claims have holders: attempts, leases, who may report, and what comes back if nobody does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.claims import AttemptOutcome, TaskAttempt
from cwstore.entities.obstacles import Obstacle, ObstacleKind
from cwstore.entities.phases import PhaseStatus
from cwstore.entities.task import Task, TaskStatus
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, open_at, run_raw
from tests.kits.engine import locked, undone
from tests.kits.entities import NANOID, SetClock, assert_updated, moment, refused

MINUTE = timedelta(minutes=1)
#: More than the stamps rise by themselves while a clock stands still.
JIFFY = timedelta(milliseconds=1)


def make(store: Store, *ids: str, **given: Any) -> list[Task]:
    """Tasks whose names are their ids, in this order of creation."""
    return [store.tasks.create(name=key, id=key, **given) for key in ids]


def hire(store: Store, *ids: str, **given: Any) -> None:
    """Agents of these ids; the name is the id in capitals."""
    for key in ids:
        store.agents.create(name=key.upper(), worktree_id="w", id=key, **given)


def status_of(store: Store, task_id: str) -> TaskStatus:
    task = store.tasks.find_by_id(task_id)
    assert task is not None
    return task.status


def outcomes(store: Store, task_id: str) -> list[AttemptOutcome | None]:
    return [attempt.outcome for attempt in store.tasks.find_attempts(task_id)]


# Attempts


def test_a_claim_opens_an_attempt_of_the_agent_that_claims(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "t")
        hire(store, "a")
        clock.now = moment(9)
        store.tasks.claim("t", agent_id="a", lease=MINUTE)
        (attempt,) = store.tasks.find_attempts("t")
        assert attempt == TaskAttempt(
            id=attempt.id,
            task_id="t",
            agent_id="a",
            agent_name="A",
            number=1,
            lease_until=moment(9) + MINUTE,
            outcome=None,
            detail=None,
            ended_at=None,
            created_at=attempt.created_at,
            updated_at=attempt.created_at,
        )
        assert moment(9) <= attempt.created_at < moment(9) + JIFFY
        assert NANOID.fullmatch(attempt.id)
        assert store.tasks.find_open_attempts() == [attempt]
        assert store.tasks.find_open_attempts("a") == [attempt]
        assert store.tasks.find_open_attempts("nobody") == []


def test_a_claim_in_nobodys_name_has_no_agent_and_without_a_lease_none(store: Store) -> None:
    make(store, "t")
    assert store.tasks.claim_next_ready() is not None
    (attempt,) = store.tasks.find_attempts("t")
    assert (attempt.agent_id, attempt.agent_name, attempt.lease_until) == (None, None, None)


def test_attempts_are_numbered_within_their_task(store: Store) -> None:
    make(store, "t", "u")
    for _ in range(3):
        store.tasks.claim("t")
        store.tasks.release("t")
    store.tasks.claim("u")
    assert [one.number for one in store.tasks.find_attempts("t")] == [1, 2, 3]
    assert [one.number for one in store.tasks.find_attempts("u")] == [1]
    assert store.tasks.find_attempts("nobody") == []


def test_open_attempts_come_oldest_first(store: Store) -> None:
    make(store, *"cab")
    for key in "bca":
        store.tasks.claim(key)
    store.tasks.complete("c")
    assert [one.task_id for one in store.tasks.find_open_attempts()] == ["b", "a"]


# Reports of the holder

REPORTS: dict[str, tuple[Callable[..., Task], TaskStatus, AttemptOutcome, str | None]] = {
    "complete": (
        lambda store, **who: store.tasks.complete("t", summary="done", **who),
        TaskStatus.COMPLETED,
        AttemptOutcome.COMPLETED,
        None,
    ),
    "release": (
        lambda store, **who: store.tasks.release("t", **who),
        TaskStatus.PENDING,
        AttemptOutcome.RELEASED,
        None,
    ),
    "release with a reason": (
        lambda store, **who: store.tasks.release("t", detail="later", **who),
        TaskStatus.PENDING,
        AttemptOutcome.RELEASED,
        "later",
    ),
    "fail": (
        lambda store, **who: store.tasks.fail("t", detail="tests are red", **who),
        TaskStatus.PENDING,
        AttemptOutcome.FAILED,
        "tests are red",
    ),
    "fail for good": (
        lambda store, **who: store.tasks.fail("t", detail="no", retry=False, **who),
        TaskStatus.BLOCKED,
        AttemptOutcome.FAILED,
        "no",
    ),
}


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("agent_id", [None, "a"])
def test_the_holder_ends_its_attempt_and_the_task_goes_on(
    report: str, agent_id: str | None, open_store: OpenStore
) -> None:
    act, status, outcome, detail = REPORTS[report]
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "t")
        hire(store, "a")
        clock.now = moment(1)
        claimed = store.tasks.claim("t", agent_id=agent_id, lease=MINUTE)
        (opened,) = store.tasks.find_attempts("t")
        clock.now = moment(2)
        after = act(store, agent_id=agent_id)
        summary = "done" if report == "complete" else None
        assert_updated(claimed, after, status=status, summary=summary)
        assert store.tasks.find_by_id("t") == after
        assert store.tasks.find_attempts("t") == [
            replace(
                opened,
                outcome=outcome,
                detail=detail,
                ended_at=moment(2),
                updated_at=moment(2),
            )
        ]
        assert store.tasks.find_open_attempts() == []


def test_complete_without_a_summary_keeps_the_one_there_is(store: Store) -> None:
    make(store, "t", summary="so far")
    store.tasks.claim("t")
    assert store.tasks.complete("t").summary == "so far"


WRONG_HOLDERS: dict[str, Callable[[Store], str | None]] = {
    "another agent": lambda store: "b",
    "nobody named": lambda store: None,
    "an agent that does not exist": lambda store: "nobody",
}
HOLDERS_REPORTS: dict[str, Callable[[Store, str | None], object]] = {
    "complete": lambda store, who: store.tasks.complete("t", agent_id=who, summary="late"),
    "release": lambda store, who: store.tasks.release("t", agent_id=who),
    "fail": lambda store, who: store.tasks.fail("t", agent_id=who, detail="late"),
    "extend_lease": lambda store, who: store.tasks.extend_lease("t", MINUTE, agent_id=who),
}


def assert_not_held(store: Store, file: Path, act: Callable[[], object], table: str = "t") -> None:
    before = contents(file)
    with pytest.raises(ConflictError) as caught:
        act()
    error = caught.value
    assert (error.reason, error.table, error.id) == (ConflictReason.NOT_HELD, "tasks", table)
    assert contents(file) == before


@pytest.mark.parametrize("who", WRONG_HOLDERS)
@pytest.mark.parametrize("report", HOLDERS_REPORTS)
def test_a_report_by_anybody_but_the_holder_changes_nothing(
    store: Store, file: Path, report: str, who: str
) -> None:
    make(store, "t")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a")
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, WRONG_HOLDERS[who](store)))


@pytest.mark.parametrize("report", HOLDERS_REPORTS)
def test_a_named_agent_does_not_report_on_what_nobody_named_holds(
    store: Store, file: Path, report: str
) -> None:
    make(store, "t")
    hire(store, "a")
    store.tasks.claim("t")
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, "a"))


@pytest.mark.parametrize("report", HOLDERS_REPORTS)
@pytest.mark.parametrize("status", TaskStatus)
def test_a_task_that_nobody_holds_takes_no_report(
    store: Store, file: Path, report: str, status: TaskStatus
) -> None:
    make(store, "t", status=status)
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, None))


@pytest.mark.parametrize("report", HOLDERS_REPORTS)
def test_a_report_on_no_task_is_told_apart(store: Store, file: Path, report: str) -> None:
    with refused(file, NotFoundError, match="'t'"):
        HOLDERS_REPORTS[report](store, None)


@pytest.mark.parametrize("report", HOLDERS_REPORTS)
def test_a_late_worker_does_not_write_over_its_successors_result(
    store: Store, file: Path, report: str
) -> None:
    make(store, "t")
    hire(store, "late", "next", status="running")
    store.tasks.claim("t", agent_id="late")
    store.agents.reconcile(lambda agent: agent.id != "late")
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, "late"))
    store.tasks.claim("t", agent_id="next")
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, "late"))
    store.tasks.complete("t", agent_id="next", summary="the result")
    assert_not_held(store, file, lambda: HOLDERS_REPORTS[report](store, "late"))
    assert outcomes(store, "t") == ["lost", "completed"]


def test_a_result_is_reported_once(store: Store, file: Path) -> None:
    make(store, "t")
    store.tasks.claim("t")
    store.tasks.complete("t", summary="first")
    assert_not_held(store, file, lambda: store.tasks.complete("t", summary="second"))


def test_what_is_told_says_who_holds_the_task_now(store: Store) -> None:
    make(store, "t")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a")
    with pytest.raises(
        ConflictError, match=r"not held by agent 'b': it is held by agent 'A' \(a\)"
    ):
        store.tasks.complete("t", agent_id="b")
    store.tasks.complete("t", agent_id="a")
    with pytest.raises(ConflictError, match="by nobody named: it is completed and held by nobody"):
        store.tasks.complete("t")


# Claims that are repeated, and claims that are refused


@pytest.mark.parametrize("anew", ["claim", "claim_next_ready"])
def test_a_claim_that_is_repeated_gives_the_task_again_and_a_new_lease(
    file: Path, anew: str, open_store: OpenStore
) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "t", "u")
        hire(store, "a")
        held = store.tasks.claim("t", agent_id="a", lease=MINUTE)

        def again(lease: timedelta | None) -> Task | None:
            if anew == "claim":
                return store.tasks.claim("t", agent_id="a", lease=lease)
            return store.tasks.claim_next_ready(agent_id="a", lease=lease, categories=["plan"])

        clock.now = moment(30)
        before = contents(file)
        assert again(None) == held
        assert contents(file) == before
        assert again(MINUTE) == held
        (attempt,) = store.tasks.find_attempts("t")
        assert attempt.lease_until == moment(30) + MINUTE
        assert attempt.updated_at == moment(30)


def test_a_lease_is_given_to_who_had_none_and_stays_without_a_new_one(
    open_store: OpenStore,
) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "t")
        hire(store, "a")
        store.tasks.claim("t", agent_id="a")
        clock.now = moment(1)
        store.tasks.claim("t", agent_id="a", lease=MINUTE)
        store.tasks.claim("t", agent_id="a")
        assert store.tasks.find_attempts("t")[0].lease_until == moment(61)


def test_a_claim_in_nobodys_name_cannot_be_repeated(store: Store, file: Path) -> None:
    make(store, "t", "u")
    store.tasks.claim("t")
    with refused(file, ConflictError, match="held by nobody named"):
        store.tasks.claim("t")
    second = store.tasks.claim_next_ready()
    assert second is not None
    assert second.id == "u"


def test_an_agent_holds_one_task_at_a_time(store: Store, file: Path) -> None:
    make(store, "t", "u")
    hire(store, "a")
    store.tasks.claim("t", agent_id="a")
    with refused(file, ConflictError, match="holds task 't'"):
        store.tasks.claim("u", agent_id="a")
    with pytest.raises(ConflictError) as caught:
        store.tasks.claim("u", agent_id="a")
    error = caught.value
    assert (error.reason, error.table, error.id) == (ConflictReason.HELD, "agents", "a")
    store.tasks.complete("t", agent_id="a")
    assert store.tasks.claim("u", agent_id="a").id == "u"


def test_a_claim_of_a_held_task_says_who_holds_it(store: Store, file: Path) -> None:
    make(store, "t")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a")
    for who in ("b", None):
        with refused(file, ConflictError, match=r"held by agent 'A' \(a\)"):
            store.tasks.claim("t", agent_id=who)
    with pytest.raises(ConflictError) as caught:
        store.tasks.claim("t")
    error = caught.value
    assert (error.reason, error.table, error.id) == (ConflictReason.HELD, "tasks", "t")


@pytest.mark.parametrize("status", [one for one in TaskStatus if one is not TaskStatus.PENDING])
def test_a_claim_of_a_task_that_is_not_pending_says_so(
    store: Store, file: Path, status: TaskStatus
) -> None:
    make(store, "t", status=status)
    with refused(file, ConflictError, match=f"not ready: task 't' is {status}"):
        store.tasks.claim("t")


@pytest.mark.parametrize(
    "lease", [timedelta(0), -MINUTE, timedelta(days=36_500, microseconds=1), 60, "1 min"]
)
def test_a_lease_is_a_timedelta_in_the_future(store: Store, file: Path, lease: Any) -> None:
    make(store, "t", "u")
    store.tasks.claim("u", lease=MINUTE)
    for act in (
        lambda: store.tasks.claim("t", lease=lease),
        lambda: store.tasks.claim_next_ready(lease=lease),
        lambda: store.tasks.extend_lease("u", lease),
    ):
        with refused(file, InvalidValueError, "lease"):
            act()
    nothing: Any = None
    with refused(file, InvalidValueError, "lease"):
        store.tasks.extend_lease("u", nothing)
    assert store.tasks.extend_lease("u", timedelta(days=36_500)).task_id == "u"


def test_bad_arguments_of_a_report_are_refused(store: Store, file: Path) -> None:
    make(store, "t")
    store.tasks.claim("t")
    tasks: Any = store.tasks
    for field, act in (
        ("task_id", lambda: tasks.complete("")),
        ("agent_id", lambda: tasks.complete("t", agent_id=5)),
        ("summary", lambda: tasks.complete("t", summary=5)),
        ("detail", lambda: tasks.release("t", detail=b"x")),
        ("detail", lambda: tasks.fail("t", detail=None)),
        ("detail", lambda: tasks.fail("t", detail="a\0b")),
        ("retry", lambda: tasks.fail("t", detail="x", retry=None)),
        ("task_id", lambda: tasks.find_attempts(None)),
        ("agent_id", lambda: tasks.find_open_attempts("")),
        ("task_id", lambda: tasks.why_not_ready(5)),
    ):
        with refused(file, InvalidValueError, field):
            act()


# Leases


def leased(file: Path, clock: SetClock) -> Store:
    """Tasks t, u, v: t held by a for a minute, u by nobody named for two, v without a lease."""
    store = open_at(file, clock=clock)
    make(store, *"tuv")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a", lease=MINUTE)
    store.tasks.claim("u", lease=2 * MINUTE)
    store.tasks.claim("v", agent_id="b")
    return store


def test_leases_that_have_passed_are_taken_back_and_no_others(file: Path) -> None:
    clock = SetClock(moment(0))
    with leased(file, clock) as store:
        before = store.tasks.find_all()
        (opened,) = store.tasks.find_attempts("t")
        assert opened.lease_until is not None
        clock.now = opened.lease_until - timedelta(microseconds=1)
        assert store.tasks.expire_leases() == []
        assert store.tasks.find_all() == before
        clock.now = opened.lease_until
        (expired,) = store.tasks.expire_leases()
        assert_updated(before[0], expired, status=TaskStatus.PENDING)
        assert store.tasks.find_attempts("t") == [
            replace(
                opened,
                outcome=AttemptOutcome.LOST,
                detail="the lease passed",
                ended_at=opened.lease_until,
                updated_at=opened.lease_until,
            )
        ]
        clock.now = moment(10_000)
        assert [task.id for task in store.tasks.expire_leases()] == ["u"]
        assert status_of(store, "v") is TaskStatus.IN_PROGRESS


@pytest.mark.only_sqlite("looks inside of it")
def test_without_a_lease_that_has_passed_expiry_waits_for_no_writer(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    make(store, "t")
    store.tasks.claim("t", lease=MINUTE)
    with locked(file), open_store(busy_timeout=0) as other:
        assert other.tasks.expire_leases() == []


def test_expired_tasks_come_oldest_first(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, *"cab")
        for key in "bac":
            store.tasks.claim(key, lease=MINUTE)
        clock.now = moment(61)
        assert [task.id for task in store.tasks.expire_leases()] == list("cab")


def test_a_claim_takes_a_task_whose_lease_has_passed(file: Path) -> None:
    for by_name in (True, False):
        path = file.with_name(f"{by_name}.db")
        clock = SetClock(moment(0))
        with leased(path, clock) as store:
            hire(store, "c")
            assert store.tasks.claim_next_ready(agent_id="c") is None
            clock.now = moment(61)
            if by_name:
                assert store.tasks.claim("t", agent_id="c").id == "t"
            else:
                claimed = store.tasks.claim_next_ready(agent_id="c")
                assert claimed is not None
                assert claimed.id == "t"
            assert outcomes(store, "t") == ["lost", None]
            (held,) = store.tasks.find_open_attempts("c")
            assert (held.task_id, held.number) == ("t", 2)
            assert_not_held(store, path, lambda: store.tasks.complete("t", agent_id="a"))


def test_a_refused_claim_takes_nothing_back(file: Path) -> None:
    clock = SetClock(moment(0))
    with leased(file, clock) as store:
        make(store, "w", status="blocked")
        clock.now = moment(61)
        with refused(file, ConflictError, match="not ready"):
            store.tasks.claim("w")


HOURS = timedelta(hours=5)


def test_a_lease_passes_in_its_time_though_a_clock_was_hours_ahead_once(file: Path) -> None:
    with open_at(file, clock=SetClock(moment(0) + HOURS)) as ahead:
        make(ahead, "t")
    clock = SetClock(moment(0))
    with open_at(file, clock=clock) as store:
        store.tasks.claim("t", lease=MINUTE)
        (attempt,) = store.tasks.find_attempts("t")
        assert attempt.created_at > moment(0) + HOURS  # stamps go on behind the last one
        assert attempt.lease_until == moment(60)
        clock.now = moment(60) - JIFFY
        assert store.tasks.expire_leases() == []
        assert store.tasks.claim_next_ready() is None
        clock.now = moment(60)
        assert [task.id for task in store.tasks.expire_leases()] == ["t"]


def test_a_clock_that_jumps_ahead_and_back_ends_no_lease_that_is_given_after_it(
    file: Path,
) -> None:
    clock = SetClock(moment(0))
    with open_at(file, clock=clock) as store:
        make(store, *"tu")
        store.tasks.claim("t", lease=2 * MINUTE)
        clock.now = moment(0) + HOURS
        store.tasks.claim("u", lease=MINUTE)
        clock.now = moment(100)  # and right again
        assert store.tasks.expire_leases() == []
        assert store.tasks.extend_lease("u", MINUTE).lease_until == moment(160)
        clock.now = moment(120)
        assert [task.id for task in store.tasks.expire_leases()] == ["t"]
        clock.now = moment(160)
        assert [task.id for task in store.tasks.expire_leases()] == ["u"]


def test_a_clock_that_is_set_back_lets_new_leases_pass_in_their_time(file: Path) -> None:
    clock = SetClock(moment(0) + HOURS)
    with open_at(file, clock=clock) as store:
        make(store, *"tu")
        store.tasks.claim("t", lease=MINUTE)
        clock.now = moment(0)
        store.tasks.claim("u", lease=MINUTE)
        clock.now = moment(60)
        assert [task.id for task in store.tasks.expire_leases()] == ["u"]
        assert store.tasks.extend_lease("t", MINUTE).lease_until == moment(120)


def test_the_holder_may_report_late_while_nobody_took_the_task_back(file: Path) -> None:
    clock = SetClock(moment(0))
    with leased(file, clock) as store:
        clock.now = moment(600)
        assert store.tasks.extend_lease("t", MINUTE, agent_id="a").lease_until == moment(660)
        assert store.tasks.complete("u").status is TaskStatus.COMPLETED
        clock.now = moment(700)
        assert store.tasks.complete("t", agent_id="a").status is TaskStatus.COMPLETED
        assert outcomes(store, "t") == outcomes(store, "u") == ["completed"]


def test_a_lease_is_extended_from_now_also_to_an_earlier_end(file: Path) -> None:
    clock = SetClock(moment(0))
    with leased(file, clock) as store:
        (before,) = store.tasks.find_attempts("u")
        clock.now = moment(1)
        after = store.tasks.extend_lease("u", MINUTE)
        assert_updated(before, after, lease_until=moment(61))
        assert store.tasks.find_attempts("u") == [after]
        clock.now = moment(2)
        assert store.tasks.extend_lease("v", MINUTE, agent_id="b").lease_until == moment(62)


def test_a_heartbeat_in_time_keeps_the_task(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store, open_store(clock=clock) as other:
        make(store, "t")
        hire(store, "a")
        store.tasks.claim("t", agent_id="a", lease=MINUTE)
        for second in range(50, 500, 50):
            clock.now = moment(second)
            store.tasks.extend_lease("t", MINUTE, agent_id="a")
            assert other.tasks.claim_next_ready() is None
        assert outcomes(store, "t") == [None]


# What ends an attempt without a report


@pytest.mark.parametrize("status", [one for one in TaskStatus if one != "in_progress"])
@pytest.mark.parametrize("by", ["cwstore", "another program"])
def test_a_task_that_leaves_in_progress_by_any_statement_is_held_by_nobody(
    store: Store, file: Path, status: TaskStatus, by: str
) -> None:
    make(store, "t")
    hire(store, "a")
    store.tasks.claim("t", agent_id="a", lease=MINUTE)
    (opened,) = store.tasks.find_attempts("t")
    if by == "cwstore":
        store.tasks.update("t", status=status)
    else:
        run_raw(file, f"UPDATE tasks SET status = '{status}', updated_at = updated_at + 7")
    task = store.tasks.find_by_id("t")
    (ended,) = store.tasks.find_attempts("t")
    assert task is not None
    assert ended.updated_at > opened.updated_at
    assert ended == replace(
        opened,
        outcome=AttemptOutcome("completed" if status == "completed" else "released"),
        ended_at=task.updated_at,
        updated_at=ended.updated_at,
    )
    store.tasks.update("t", status="pending")
    store.tasks.claim("t", agent_id="a")


def test_a_task_that_is_updated_and_stays_in_progress_is_still_held(store: Store) -> None:
    make(store, "t")
    store.tasks.claim("t")
    store.tasks.update("t", status="in_progress", name="new", summary="so far")
    assert outcomes(store, "t") == [None]
    assert store.tasks.complete("t").summary == "so far"


def test_a_deleted_task_takes_its_attempts_along_and_frees_its_agent(store: Store) -> None:
    store.initiatives.create(name="x", id="i")
    make(store, "t", "u", "v")
    make(store, "w", initiative_id="i")
    hire(store, "a")
    store.tasks.claim("t", agent_id="a")
    assert store.tasks.delete("t") is True
    assert store.tasks.find_open_attempts() == store.tasks.find_attempts("t") == []
    store.tasks.claim("w", agent_id="a")
    store.initiatives.delete("i")
    assert store.tasks.find_open_attempts() == []
    assert store.tasks.claim("u", agent_id="a").id == "u"


def assert_lost_with_its_agent(opened: TaskAttempt, ended: TaskAttempt) -> None:
    assert ended == replace(
        opened,
        agent_id=None,
        outcome=AttemptOutcome.LOST,
        detail="the agent was deleted",
        ended_at=ended.ended_at,
        updated_at=ended.updated_at,
    )
    assert ended.updated_at > opened.updated_at
    assert ended.ended_at is not None
    assert ended.ended_at >= opened.created_at


@pytest.mark.parametrize("by", ["cwstore", "another program"])
@pytest.mark.parametrize("now", [moment(0), moment(10**9)])  # behind the real time, and ahead of it
def test_a_deleted_agent_loses_its_attempt_and_its_task_is_pending(
    file: Path, by: str, now: datetime, open_store: OpenStore
) -> None:
    with open_store(clock=SetClock(now)) as store:
        make(store, "before", "t", "u")
        hire(store, "a", "b")
        store.tasks.claim("before", agent_id="a")
        store.tasks.fail("before", agent_id="a", detail="no")
        store.tasks.update("before", status="in_progress")  # not by the agent
        store.tasks.claim("t", agent_id="a")
        store.tasks.claim("u", agent_id="b")
        tasks = {task.id: task for task in store.tasks.find_all()}
        (opened,) = store.tasks.find_attempts("t")
        if by == "cwstore":
            assert store.agents.delete("a") is True
        else:
            run_raw(file, "DELETE FROM agents WHERE id = 'a'")
        (ended,) = store.tasks.find_attempts("t")
        assert_lost_with_its_agent(opened, ended)
        given_back = store.tasks.find_by_id("t")
        assert given_back is not None
        assert_updated(tasks["t"], given_back, status=TaskStatus.PENDING)
        assert [task for task in store.tasks.find_all() if task.id != "t"] == [
            tasks["before"],
            tasks["u"],
        ]
        assert outcomes(store, "before") == ["failed"]
        assert outcomes(store, "u") == [None]
        assert_not_held(store, file, lambda: store.tasks.complete("t"))
        hire(store, "c")
        assert store.tasks.claim("t", agent_id="c").id == "t"


@pytest.mark.only_sqlite("PostgreSQL has no REPLACE, which no trigger on agents sees")
def test_an_agent_that_another_program_replaces_loses_its_attempt_too(
    store: Store, file: Path
) -> None:
    make(store, "t", "u")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a")
    store.tasks.claim("u", agent_id="b")
    (opened,) = store.tasks.find_attempts("t")
    run_raw(
        file,
        """
        INSERT OR REPLACE INTO agents (id, name, worktree_id, created_at, updated_at)
        VALUES ('new', 'A', 'w', 1, 1)
        """,
    )
    assert sorted(agent.id for agent in store.agents.find_all()) == ["b", "new"]
    (ended,) = store.tasks.find_attempts("t")
    assert_lost_with_its_agent(opened, ended)
    assert status_of(store, "t") is TaskStatus.PENDING
    assert outcomes(store, "u") == [None]
    assert store.tasks.claim("t", agent_id="new").id == "t"


def test_all_agents_at_once_can_be_deleted_by_anrun_raw(store: Store, file: Path) -> None:
    make(store, *"tuv")
    hire(store, *"abc")
    for task, agent in zip("tuv", "abc", strict=True):
        store.tasks.claim(task, agent_id=agent)
    run_raw(file, "DELETE FROM agents")
    assert {task.status for task in store.tasks.find_all()} == {TaskStatus.PENDING}
    assert store.tasks.find_open_attempts() == []


def test_an_agent_that_holds_nothing_is_deleted_as_ever(store: Store) -> None:
    make(store, "t", status="in_progress")
    hire(store, "a")
    assert store.agents.delete("a") is True
    assert store.agents.delete("a") is False
    assert status_of(store, "t") is TaskStatus.IN_PROGRESS


# Transactions


@pytest.mark.parametrize("report", REPORTS)
def test_claim_and_report_in_a_transaction_that_is_undone_leave_no_trace(
    store: Store, file: Path, report: str
) -> None:
    make(store, "t")
    hire(store, "a")
    before = contents(file)
    with undone(store):
        store.tasks.claim("t", agent_id="a", lease=MINUTE)
        REPORTS[report][0](store, agent_id="a")
    assert contents(file) == before


def test_a_refusal_inside_of_a_transaction_undoes_its_own_part_alone(
    store: Store, file: Path
) -> None:
    make(store, "t", "u")
    hire(store, "a")
    with store.transaction():
        store.tasks.claim("t", agent_id="a")
        with pytest.raises(ConflictError):
            store.tasks.claim("u", agent_id="a")
        with pytest.raises(NotFoundError):
            store.tasks.claim("u", agent_id="nobody")
        with pytest.raises(ConflictError):
            store.tasks.complete("t", agent_id="nobody")
    assert status_of(store, "t") is TaskStatus.IN_PROGRESS
    assert status_of(store, "u") is TaskStatus.PENDING
    assert [one.task_id for one in store.tasks.find_open_attempts()] == ["t"]


def test_a_claim_sees_what_its_own_transaction_has_done(store: Store) -> None:
    hire(store, "a")
    assert store.tasks.claim_next_ready() is None
    assert store.tasks.claim_next_ready() is None
    with undone(store):
        make(store, "t")
        claimed = store.tasks.claim_next_ready(agent_id="a")
        assert claimed is not None
        with store.transaction():
            store.tasks.complete("t", agent_id="a")
        assert store.tasks.claim_next_ready(agent_id="a") is None
    assert store.tasks.claim_next_ready() is None


def test_a_claim_inside_of_a_transaction_gives_the_lease_that_was_asked_for(
    open_store: OpenStore,
) -> None:
    with open_store(clock=SetClock(moment(9))) as store:
        make(store, "t", "u")
        with store.transaction():
            store.tasks.claim("t", lease=MINUTE)
            store.tasks.claim_next_ready(lease=2 * MINUTE)
        leases = {one.task_id: one.lease_until for one in store.tasks.find_open_attempts()}
        assert leases == {"t": moment(9) + MINUTE, "u": moment(9) + 2 * MINUTE}


# Why a task is not ready


def test_each_obstacle_is_told_with_its_status_in_the_order_of_kinds(store: Store) -> None:
    store.initiatives.create(name="x", id="i", status="archived")
    for key, status in (
        ("q2", PhaseStatus.IN_PROGRESS),
        ("q1", PhaseStatus.PENDING),
        ("p", PhaseStatus.BLOCKED),
        ("q3", PhaseStatus.COMPLETED),
    ):
        store.phases.create(initiative_id="i", name="x", id=key, status=status)
    for key in ("q1", "q2", "q3"):
        store.phases.create_dependency("p", key)
    make(store, "n2", status="in_progress")
    make(store, "n1")
    make(store, "n3", status="completed")
    make(store, "t", phase_id="p", status="pending_approval")
    for key in ("n1", "n2", "n3"):
        store.tasks.create_dependency("t", key)
    expected = [
        Obstacle(ObstacleKind.TASK, "t", "pending_approval"),
        Obstacle(ObstacleKind.INITIATIVE, "i", "archived"),
        Obstacle(ObstacleKind.PHASE, "p", "blocked"),
        Obstacle(ObstacleKind.PHASE_DEPENDENCY, "q2", "in_progress"),
        Obstacle(ObstacleKind.PHASE_DEPENDENCY, "q1", "pending"),
        Obstacle(ObstacleKind.TASK_DEPENDENCY, "n2", "in_progress"),
        Obstacle(ObstacleKind.TASK_DEPENDENCY, "n1", "pending"),
    ]
    assert store.tasks.why_not_ready("t") == expected
    with pytest.raises(ConflictError) as caught:
        store.tasks.claim("t")
    error = caught.value
    assert (error.reason, error.table, error.id) == (ConflictReason.NOT_READY, "tasks", "t")
    for one in expected:
        assert f"{one.kind} {one.id!r} is {one.status}" in str(error)


def test_a_ready_task_has_no_obstacle_and_no_task_is_told_apart(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    store.phases.create(initiative_id="i", name="x", id="p", status="approved")
    make(store, "t", phase_id="p")
    make(store, "u")
    for key in "tu":
        assert store.tasks.why_not_ready(key) == []
        store.tasks.claim(key)
    with refused(file, NotFoundError, match="'nobody'"):
        store.tasks.why_not_ready("nobody")


# What users of other stores have reported


def test_an_agent_that_starts_again_under_its_name_goes_on_with_its_task(store: Store) -> None:
    make(store, "t", "u")
    hire(store, "a", status="running", pid=1)
    first = store.tasks.claim_next_ready(agent_id="a", lease=MINUTE)
    store.agents.update("a", pid=2)
    assert store.agents.reconcile(lambda agent: agent.pid == 2) == []
    assert store.tasks.claim_next_ready(agent_id="a", lease=MINUTE) == first
    assert outcomes(store, "t") == [None]


def test_a_heartbeat_that_comes_after_the_report_is_told_and_changes_nothing(
    store: Store, file: Path
) -> None:
    make(store, "t", "u")
    hire(store, "a")
    store.tasks.claim("t", agent_id="a", lease=MINUTE)
    store.tasks.complete("t", agent_id="a")
    store.tasks.claim("u", agent_id="a", lease=MINUTE)
    assert_not_held(store, file, lambda: store.tasks.extend_lease("t", MINUTE, agent_id="a"))


def test_a_heartbeat_does_not_extend_the_lease_of_a_successor(file: Path) -> None:
    clock = SetClock(moment(0))
    with leased(file, clock) as store:
        hire(store, "c")
        clock.now = moment(61)
        store.tasks.claim("t", agent_id="c", lease=MINUTE)
        assert_not_held(store, file, lambda: store.tasks.extend_lease("t", MINUTE, agent_id="a"))


def test_what_could_not_be_started_is_released_and_goes_to_the_next(store: Store) -> None:
    make(store, "t")
    hire(store, "a", "b")
    store.tasks.claim_next_ready(agent_id="a")
    store.tasks.release("t", agent_id="a", detail="the worktree could not be made")
    claimed = store.tasks.claim_next_ready(agent_id="b")
    assert claimed is not None
    assert claimed.id == "t"
    assert [one.detail for one in store.tasks.find_attempts("t")] == [
        "the worktree could not be made",
        None,
    ]


@pytest.mark.parametrize(
    "report",
    [
        lambda tasks: tasks.complete("t", agent_id="b"),
        lambda tasks: tasks.release("t", agent_id="b"),
        lambda tasks: tasks.fail("t", agent_id="b", detail="x"),
        lambda tasks: tasks.extend_lease("t", MINUTE, agent_id="b"),
    ],
    ids=["complete", "release", "fail", "extend_lease"],
)
def test_each_report_that_is_refused_names_who_reported_and_who_holds_the_task(
    store: Store, report: Callable[[Any], object]
) -> None:
    make(store, "t")
    hire(store, "a", "b")
    store.tasks.claim("t", agent_id="a")
    with pytest.raises(ConflictError, match=r"'t' is not held by agent 'b': .* agent '.*' \(a\);"):
        report(store.tasks)


def test_what_does_not_exist_is_told_by_table_and_id(store: Store) -> None:
    for call in (store.tasks.claim, store.tasks.why_not_ready, store.tasks.complete):
        with pytest.raises(NotFoundError) as caught:
            call("nobody")
        assert (caught.value.table, caught.value.id) == ("tasks", "nobody")


def test_a_refused_claim_tells_all_that_holds_the_task_back(store: Store) -> None:
    make(store, *"tuv")
    store.tasks.create_dependency("t", "u")
    store.tasks.create_dependency("t", "v")
    told = "task_dependency 'u' is pending; task_dependency 'v' is pending$"
    with pytest.raises(ConflictError, match=f"not ready: {told}"):
        store.tasks.claim("t")


def test_a_lease_is_needed_to_extend_one(store: Store) -> None:
    make(store, "t")
    store.tasks.claim("t")
    nothing: Any = None
    with pytest.raises(InvalidValueError, match=r"^lease: expected timedelta, got NoneType$"):
        store.tasks.extend_lease("t", nothing)


def test_a_holder_whose_lease_has_passed_begins_a_new_attempt(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        make(store, "t")
        hire(store, "a")
        store.tasks.claim("t", agent_id="a", lease=MINUTE)
        clock.now = moment(61)
        again = store.tasks.claim_next_ready(agent_id="a", lease=MINUTE)
        assert again is not None
        assert again.id == "t"
        assert outcomes(store, "t") == [AttemptOutcome.LOST, None]
