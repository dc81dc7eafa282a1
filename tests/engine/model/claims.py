"""Rules: claims, the reports of holders, leases, and what holds of attempts after every step."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from cwstore.entities.claims import TaskAttempt
from cwstore.entities.task import Task, TaskCategory, TaskType
from cwstore.errors import ConflictError, ConflictReason, NotFoundError
from cwstore.store import Store
from cwstore.testing.strategies import Arguments, members, texts
from tests.engine.model.answers import held_by, holder_of, is_ready, open_attempts, ready
from tests.engine.model.data import MICROSECOND, Errors, Model, std
from tests.engine.model.machine import (
    LATEST,
    OPTIONAL_REF,
    REF,
    REFUSED,
    UNKNOWN,
    Machine,
    Steps,
    pick,
    some_of,
    step,
)
from tests.kits.database import change

LEASE = st.sampled_from(
    [
        None,
        MICROSECOND,
        timedelta(seconds=5),
        timedelta(hours=1),
        timedelta(days=4000),
        timedelta(days=36_500),
    ]
)
#: One of the open attempts, by position, else any task and agent.
OPEN = st.sampled_from([None, 0, 0, 1, 2, 3])
AGENT = st.none() | REF


class Claims(Machine):
    """Who holds which task."""

    # What becomes of attempts

    def attempt_now(self, attempt: TaskAttempt) -> TaskAttempt:
        """The same one as it is stored."""
        found = self.stores[self.by].tasks.find_attempts(attempt.task_id)
        return next(one for one in found if one.id == attempt.id)

    def check_ended(
        self, attempt: TaskAttempt, outcome: str, *, detail: str | None, **changes: object
    ) -> None:
        """By a report, or by a change of the task's status."""
        row = self.attempt_now(attempt)
        task = self.stores[self.by].tasks.find_by_id(attempt.task_id)
        assert row.ended_at is not None
        assert task is not None
        self.check_updated(
            "task_attempts",
            row,
            stamp=task.updated_at,
            outcome=outcome,
            detail=detail,
            ended_at=row.ended_at,
            **changes,
        )
        assert row.ended_at == task.updated_at or self.low <= row.ended_at <= self.high

    def check_lost(self, attempt: TaskAttempt, **changes: object) -> None:
        """Somebody took the task back, and says why."""
        detail = self.attempt_now(attempt).detail
        assert detail
        self.check_ended(attempt, "lost", detail=detail, **changes)

    def check_pending(self, task_id: str) -> None:
        row = self.stores[self.by].tasks.find_by_id(task_id)
        self.check_updated("tasks", row, status="pending")

    def passed(self) -> list[TaskAttempt]:
        """Attempts whose lease has passed, by the clock alone, whatever stamps were given out."""
        now = self.dials[self.by].now
        leases = [one for one in open_attempts(self.view()[1]) if one.lease_until is not None]
        return [one for one in leases if one.lease_until <= now]

    def check_taken_back(self, passed: list[TaskAttempt], claimed: str | None) -> None:
        """Each attempt is lost and its task pending; one of these was claimed again since."""
        for attempt in passed:
            self.check_lost(attempt)
            if attempt.task_id == claimed:
                task = self.model.tables["tasks"][claimed]
                risen = task.updated_at + MICROSECOND
                self.model.put("tasks", replace(task, status="pending", updated_at=risen))
            else:
                self.check_pending(attempt.task_id)

    # Claiming

    @step(one=REF, agent=AGENT, lease=LEASE, of=OPEN)
    def claim_task(
        self, one: int, agent: int | None, lease: timedelta | None, of: int | None
    ) -> None:
        key, agent_id = self.pick("tasks", one), self.agent(agent)
        passed, model = self.passed(), self.view()[1]
        if of == 1 and open_attempts(model):
            key = open_attempts(model)[one % len(open_attempts(model))].task_id
        if of and agent is not None and agent % 2:  # an agent that holds one already
            holders = [row.agent_id for row in open_attempts(model) if row.agent_id is not None]
            agent_id = holders[agent % len(holders)] if holders else agent_id
        held, tasks = held_by(model, agent_id), model.tables["tasks"]
        again = held is not None and held.task_id == key
        free = after_expiry(model, passed)
        errors: Errors = set()
        if key not in tasks:
            errors.add(NotFoundError)
        if held is not None and not again:
            errors.add(ConflictError)
        if key in tasks and not again and not is_ready(free, free.tables["tasks"][key]):
            errors.add(ConflictError)
        if agent_id is not None and agent_id not in model.tables["agents"]:
            errors.add(NotFoundError)
        expires = key in tasks and not is_ready(model, tasks[key])
        task = self.call(
            lambda store: store.tasks.claim(key, agent_id=agent_id, lease=lease), errors
        )
        if task is REFUSED:
            other = held is not None or holder_of(model, key) not in (None, *passed)
            self.check_reason(ConflictReason.HELD if other else ConflictReason.NOT_READY)
        elif held is not None:
            self.check_claimed_again(task, held, lease)
        else:
            self.check_taken_back(passed if expires else [], key)
            self.check_claimed(task, agent_id, lease)

    @step(
        one=OPTIONAL_REF,
        filters=st.fixed_dictionaries(
            {},
            optional={
                "categories": st.none() | st.lists(members(TaskCategory), max_size=6),
                "types": st.lists(members(TaskType), max_size=3),
            },
        ),
        agent=AGENT,
        lease=LEASE,
    )
    def claim_next_ready(
        self, one: int, filters: Arguments, agent: int | None, lease: timedelta | None
    ) -> None:
        passed, (store, model) = self.passed(), self.view()
        initiative = None if one > UNKNOWN else self.pick("initiatives", one)
        agent_id = self.agent(agent)
        filters["initiative_id"] = initiative
        held = held_by(model, agent_id)
        if held in passed:
            held = None  # it is taken back, from its holder too
        expected = ready(
            after_expiry(model, passed),
            initiative,
            filters.get("categories"),
            filters.get("types", ["auto"]),
        )
        if held is None and not passed and not expected:  # a read, which waits for nobody
            found = store.tasks.claim_next_ready(**filters, agent_id=agent_id, lease=lease)
            assert found is None
            return
        errors: Errors = set()
        if expected and agent_id is not None and agent_id not in model.tables["agents"]:
            errors.add(NotFoundError)
        task = self.call(
            lambda store: store.tasks.claim_next_ready(**filters, agent_id=agent_id, lease=lease),
            errors,
        )
        if task is REFUSED:
            return
        if held is not None:
            self.check_taken_back(passed, None)
            self.check_claimed_again(task, held, lease)
            return
        assert (task and task.id) == (expected[0].id if expected else None)
        self.check_taken_back(passed, task and task.id)
        if task is not None:
            self.check_claimed(task, agent_id, lease)

    def check_claimed(self, task: Task, agent_id: str | None, lease: timedelta | None) -> None:
        """The task is in progress, the agent has it, an attempt is open."""
        tasks = self.stores[self.by].tasks
        name = None
        self.check_updated("tasks", task, status="in_progress")
        if agent_id is not None:
            agent = self.stores[self.by].agents.find_by_id(agent_id)
            assert agent is not None
            self.check_updated("agents", agent, task_id=task.id)
            name = agent.name
        before = self.model.rows("task_attempts", task_id=task.id)
        attempt = tasks.find_attempts(task.id)[-1]
        given = {
            "task_id": task.id,
            "agent_id": agent_id,
            "agent_name": name,
            "number": len(before) + 1,
            "lease_until": None if lease is None else self.end_of(lease),
        }
        self.check_made("task_attempts", attempt, given)

    def check_claimed_again(self, task: Task, held: TaskAttempt, lease: timedelta | None) -> None:
        """The holder has what it had, and a lease from now on if it gave one."""
        assert task == self.model.tables["tasks"][held.task_id]
        if lease is not None:
            self.check_extended(self.attempt_now(held), lease)

    def check_extended(self, attempt: TaskAttempt, lease: timedelta) -> None:
        self.check_updated("task_attempts", attempt, lease_until=self.end_of(lease))

    def end_of(self, lease: timedelta) -> datetime:
        """When a lease passes that is given now; at the latest when time ends."""
        now = self.dials[self.by].now
        return now + min(lease, datetime.max.replace(tzinfo=UTC) - now)

    def check_reason(self, reason: ConflictReason) -> None:
        """Of the call that was refused just now, if it was a conflict."""
        if isinstance(self.refusal, ConflictError):
            assert self.refusal.reason is reason

    def agent(self, number: int | None) -> str | None:
        return None if number is None else self.pick("agents", number)

    # Reporting

    def reporter(self, of: int | None, one: int, agent: int | None) -> tuple[str, str | None]:
        """A task and who reports on it: most often the holder."""
        found = open_attempts(self.view()[1])
        if of is None or not found:
            return self.pick("tasks", one), self.agent(agent)
        attempt = found[of % len(found)]
        is_stranger = of == 1 and one % 2 == 1
        return attempt.task_id, self.agent(agent) if is_stranger else attempt.agent_id

    def report(self, key: str, agent_id: str | None, act: Callable[[Store], Any]) -> Any:
        """What the call returns; only to the holder."""
        model = self.view()[1]
        attempt = holder_of(model, key)
        errors: Errors = set()
        if key not in model.tables["tasks"]:
            errors.add(NotFoundError)
        elif attempt is None or attempt.agent_id != agent_id:
            errors.add(ConflictError)
        answer = self.call(act, errors)
        if answer is REFUSED:
            self.check_reason(ConflictReason.NOT_HELD)
        return answer

    @step(of=OPEN, one=REF, agent=AGENT, summary=st.none() | texts())
    def complete(self, of: int | None, one: int, agent: int | None, summary: str | None) -> None:
        key, agent_id = self.reporter(of, one, agent)
        attempt = holder_of(self.view()[1], key)
        task = self.report(
            key,
            agent_id,
            lambda store: store.tasks.complete(key, agent_id=agent_id, summary=summary),
        )
        if task is not REFUSED:
            assert attempt is not None
            said = self.model.tables["tasks"][key].summary if summary is None else summary
            self.check_updated("tasks", task, status="completed", summary=said)
            self.check_ended(attempt, "completed", detail=None)

    @step(of=OPEN, one=REF, agent=AGENT, detail=st.none() | texts())
    def release(self, of: int | None, one: int, agent: int | None, detail: str | None) -> None:
        key, agent_id = self.reporter(of, one, agent)
        attempt = holder_of(self.view()[1], key)
        task = self.report(
            key, agent_id, lambda store: store.tasks.release(key, agent_id=agent_id, detail=detail)
        )
        if task is not REFUSED:
            assert attempt is not None
            self.check_ended(attempt, "released", detail=detail)
            self.check_updated("tasks", task, status="pending")

    @step(of=OPEN, one=REF, agent=AGENT, detail=texts(), retry=st.booleans())
    def fail(self, of: int | None, one: int, agent: int | None, detail: str, retry: bool) -> None:
        key, agent_id = self.reporter(of, one, agent)
        attempt = holder_of(self.view()[1], key)
        task = self.report(
            key,
            agent_id,
            lambda store: store.tasks.fail(key, agent_id=agent_id, detail=detail, retry=retry),
        )
        if task is not REFUSED:
            assert attempt is not None
            self.check_ended(attempt, "failed", detail=detail)
            self.check_updated("tasks", task, status="pending" if retry else "blocked")

    @step(of=OPEN, one=REF, agent=AGENT, lease=LEASE.filter(bool))
    def extend_lease(self, of: int | None, one: int, agent: int | None, lease: timedelta) -> None:
        key, agent_id = self.reporter(of, one, agent)
        attempt = self.report(
            key,
            agent_id,
            lambda store: store.tasks.extend_lease(key, lease, agent_id=agent_id),
        )
        if attempt is not REFUSED:
            self.check_extended(attempt, lease)

    # Taking back

    @step(days=st.integers(0, 40_000))
    def let_time_end(self, days: int) -> None:
        """Some days before the last one."""
        self.let_time_pass(by=self.by, jump=LATEST - timedelta(days=days))

    @step(of=st.integers(0, 3), beside=st.sampled_from([0, 0, 1, 5_000_000, -5_000_000]))
    def let_a_lease_pass(self, of: int, beside: int) -> None:
        """The clock shows the end of one, or some microseconds before or after."""
        leases = [one.lease_until for one in open_attempts(self.view()[1]) if one.lease_until]
        if leases:
            lease = min(leases[of % len(leases)], LATEST)
            jump = lease + timedelta(microseconds=beside)
            self.let_time_pass(by=self.by, jump=jump)

    @step()
    def expire_leases(self) -> None:
        passed, store = self.passed(), self.view()[0]
        if not passed:  # a read, which waits for nobody
            assert store.tasks.expire_leases() == []
            return
        tasks = self.call(lambda store: store.tasks.expire_leases())
        if tasks is not REFUSED:
            self.check_taken_back(passed, None)
            ids = {one.task_id for one in passed}
            assert tasks == [row for row in self.model.rows("tasks") if row.id in ids]

    @step(one=REF)
    def delete_agent(self, one: int) -> None:
        key = self.pick("agents", one)
        attempt = held_by(self.view()[1], key)
        answer = self.call(lambda store: store.agents.delete(key))
        if answer is REFUSED:
            return
        assert answer is (key in self.model.tables["agents"])
        if attempt is not None:
            self.check_lost(attempt, agent_id=None)
            self.check_pending(attempt.task_id)
        if answer:
            self.model.delete("agents", key)

    @rule(one=REF)
    def another_program_deletes_an_agent(self, one: int) -> None:
        """What it held is taken back by the database itself, at the time of its own clock."""
        key = pick(self.model.tables["agents"], one)
        if self.held or key not in self.model.tables["agents"]:
            return
        attempt = held_by(self.model, key)
        assert change(self.file, "DELETE FROM agents WHERE id = ?", key) == 1
        if attempt is not None:
            row, task = self.attempt_now(attempt), self.model.tables["tasks"][attempt.task_id]
            now = self.stores[self.by].tasks.find_by_id(task.id)
            assert now is not None
            assert row.ended_at is not None
            assert row.detail
            stamps = {"ended_at": row.ended_at, "updated_at": row.updated_at, "detail": row.detail}
            assert row == replace(attempt, outcome="lost", agent_id=None, **stamps)
            assert now == replace(task, status="pending", updated_at=now.updated_at)
            assert (row.updated_at, now.updated_at) > (attempt.updated_at, task.updated_at)
            self.model.put("task_attempts", row)
            self.model.put("tasks", now)
        self.model.delete("agents", key)

    @step(one=REF, agent=REF)
    def read_attempts(self, one: int, agent: int) -> None:
        store, model = self.view()
        key, agent_id = self.pick("tasks", one), self.pick("agents", agent)
        attempts = model.rows("task_attempts", task_id=key)
        assert store.tasks.find_attempts(key) == sorted(attempts, key=lambda one: one.number)
        assert store.tasks.find_open_attempts() == open_attempts(model)
        held = held_by(model, agent_id)
        assert store.tasks.find_open_attempts(agent_id) == ([] if held is None else [held])
        if attempts:  # a page begins after any attempt, be it of this task, open, or neither
            place = attempts[one % len(attempts)]
            behind = [row for row in open_attempts(model) if std(row) > std(place)]
            assert store.tasks.find_open_attempts(after=place.id) == behind

    @rule(
        steps=some_of(
            *("claim_task", "claim_task", "claim_next_ready", "complete", "release", "fail"),
            *("extend_lease", "let_a_lease_pass", "expire_leases", "let_time_pass", "reconcile"),
            *("delete_agent", "read_attempts", "set_status", "let_an_agent_run", "open_again"),
        )
    )
    def work_for_a_while(self, steps: Steps) -> None:
        self.go_on(steps)

    # What must hold after every step

    @invariant()
    def each_open_attempt_has_a_holder_and_a_task_in_progress(self) -> None:
        """Read from the file by SQL, not from the model."""
        if (state := self.database.commits()) == self.attempts_seen:
            return
        self.attempts_seen = state
        assert self.database.query(WRONG_ATTEMPTS) == []


#: What must not be, each with the ids of where it is.
WRONG_ATTEMPTS = """
    SELECT 'is open, and its task is not in progress', attempt.id
    FROM task_attempts AS attempt JOIN tasks ON tasks.id = attempt.task_id
    WHERE attempt.outcome IS NULL AND tasks.status <> 'in_progress'
    UNION ALL
    SELECT 'is in progress for an agent that is gone', task_id FROM task_attempts
    WHERE outcome IS NULL AND agent_name IS NOT NULL
      AND (agent_id IS NULL OR agent_id NOT IN (SELECT id FROM agents))
    UNION ALL
    SELECT 'has two open attempts', task_id FROM task_attempts
    WHERE outcome IS NULL GROUP BY task_id HAVING count(*) > 1
    UNION ALL
    SELECT 'holds two tasks', agent_id FROM task_attempts
    WHERE outcome IS NULL AND agent_id IS NOT NULL GROUP BY agent_id HAVING count(*) > 1
    UNION ALL
    SELECT 'numbers with gaps', task_id FROM task_attempts
    GROUP BY task_id HAVING min(number) <> 1 OR max(number) <> count(*)
"""


def after_expiry(model: Model, passed: list[TaskAttempt]) -> Model:
    """What is there once these are taken back."""
    after = model.copy()
    for attempt in passed:
        task = after.tables["tasks"][attempt.task_id]
        after.put("tasks", replace(task, status="pending"))
    return after
