"""Processes of threads and tasks on one file, some killed: `tools/soak` in short.

Then the same record against a file that was tampered with: each kind of fault must be noticed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kits.database import open_at, tamper
from tools._python.soak.crew import Plan, Round, run_round
from tools._python.soak.history import UNKNOWN, Op
from tools._python.soak.pool import FOR
from tools._python.soak.verdict import Verdict, judge

# One round serves all tests here.
pytestmark = pytest.mark.xdist_group("soak")


# Of the session: tests of other modules may come between those of this one.
@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """Four processes of two threads and three tasks, of which at most three are killed."""
    directory = tmp_path_factory.mktemp("soak")
    plan = Plan(directory, "short", processes=4, steps=80, kills=3, calm=12, busy_timeout=60)
    return run_round(plan)


def verdict_on(done: Round) -> Verdict:
    with open_at(done.plan.file) as store:
        return judge(done, store)


def test_no_process_thread_or_task_is_told_what_does_not_hold(done: Round) -> None:
    verdict = verdict_on(done)
    assert verdict.faults == {}
    assert verdict.histories > 20


def test_the_round_did_everything_and_met_contention(done: Round) -> None:
    """Else its silence would say nothing. Which contention it meets is chance, that it does not."""
    met = {(op.key.partition("/")[0], op.kind, op.outcome) for op in done.ops}
    assert {
        ("conversation", "answer", "ok"),
        ("message", "answer", "ok"),
        ("pool", "claim", "ok"),
        ("pool", "finish", "ok"),
        ("pool", "finish", "conflict"),
        ("pool", "extend", "ok"),
        ("pool", "dismiss", "ok"),
        ("chat", "open", "ok"),
        ("edges", "depend", "ok"),
        ("setup", "create", "ok"),
        ("ghost", "crash", "crashed"),
    } <= met
    assert {outcome for _, _, outcome in met} & {"conflict", "cycle", "left"}
    assert {"migrate", "accounts", "log", "prune", "root", "agent"} <= {
        model for model, _, _ in met
    }


# Faults planted in the file


def about(done: Round, *models: str) -> Round:
    """The part of the record that is about these kinds of things."""
    ops = [op for op in done.ops if op.key.partition("/")[0] in models]
    return replace(done, ops=ops)


def tampered(
    done: Round, tmp_path: Path, models: tuple[str, ...], statement: str, *binds: object
) -> Verdict:
    """What is said of the same record if the file had become another one."""
    plan = replace(done.plan, directory=tmp_path)
    with open_at(done.plan.file) as store:
        store.backup(plan.file)
    with open_at(done.plan.fresh) as store:
        store.backup(plan.fresh)
    assert tamper(plan.file, statement, *binds) == 1
    return verdict_on(replace(about(done, *models), plan=plan))


def told(done: Round, model: str, kind: str, outcome: object = "ok") -> Op:
    """A call that was acknowledged."""
    return next(
        op
        for op in done.ops
        if op.key.startswith(f"{model}/") and (op.kind, op.outcome) == (kind, outcome)
    )


def test_a_lost_answer_is_noticed(done: Round, tmp_path: Path) -> None:
    answer = told(done, "conversation", "answer")
    verdict = tampered(
        done,
        tmp_path,
        ("conversation",),
        "UPDATE conversations SET answer = NULL, status = 'pending' WHERE answer = ?",
        answer.args[0],
    )
    assert verdict.faults["lost writes"] == [f"{answer.key}: told {[*answer.args]}, kept ''"]
    assert [line.partition(":")[0] for line in verdict.faults["not in any order"]] == [answer.key]


def test_a_lost_response_is_noticed(done: Round, tmp_path: Path) -> None:
    answer = told(done, "message", "answer")
    verdict = tampered(
        done, tmp_path, ("message",), "DELETE FROM messages WHERE content = ?", *answer.args
    )
    assert set(verdict.faults) == {"lost writes", "not in any order"}


def test_a_task_that_was_finished_and_is_not_is_noticed(done: Round, tmp_path: Path) -> None:
    finish = told(done, "pool", "finish")
    task = f"{finish.key.partition('/')[2]}.{finish.args[0]}"
    verdict = tampered(
        done, tmp_path, ("pool",), "UPDATE tasks SET status = 'pending' WHERE id = ?", task
    )
    assert set(verdict.faults) == {"lost writes", "not in any order"}


def test_a_result_that_was_overwritten_is_noticed(done: Round, tmp_path: Path) -> None:
    finish = told(done, "pool", "finish")
    task = f"{finish.key.partition('/')[2]}.{finish.args[0]}"
    verdict = tampered(
        done, tmp_path, ("pool",), "UPDATE tasks SET summary = 'late' WHERE id = ?", task
    )
    said = f"{finish.key}: {finish.args[0]}: told {finish.extra!r}, kept 'late'"
    assert verdict.faults == {"results overwritten": [said]}


def test_a_task_that_is_stuck_is_noticed(done: Round, tmp_path: Path) -> None:
    """In progress, and nobody holds it who could be found dead; no other task waits for it."""
    finish = next(
        op for op in done.ops if (op.kind, op.outcome) == ("finish", "ok") and op.args[0] != FOR
    )
    task = f"{finish.key.partition('/')[2]}.{finish.args[0]}"
    verdict = tampered(
        done, tmp_path, ("pool",), "UPDATE tasks SET status = 'in_progress' WHERE id = ?", task
    )
    assert verdict.faults["tasks stuck"] == [f"{task} is in_progress"]


def test_an_attempt_left_open_without_a_living_holder_is_noticed(
    done: Round, tmp_path: Path
) -> None:
    """Of nobody named, and without a lease: neither the dead nor the time ends it."""
    finish = told(done, "pool", "finish")
    task = f"{finish.key.partition('/')[2]}.{finish.args[0]}"
    verdict = tampered(
        done,
        tmp_path,
        ("pool",),
        "INSERT INTO task_attempts (id, task_id, number, created_at, updated_at)"
        " VALUES ('left', ?, 99, 1, 1)",
        task,
    )
    (left,) = verdict.faults["attempts open without a living holder"]
    assert left.startswith(f"TaskAttempt(id='left', task_id={task!r}, agent_id=None,")


def test_a_lost_edge_is_noticed(done: Round, tmp_path: Path) -> None:
    depend = told(done, "edges", "depend")
    tasks = [f"{depend.key.partition('/')[2]}.e{number}" for number in depend.args]
    verdict = tampered(
        done,
        tmp_path,
        ("edges",),
        "DELETE FROM task_dependencies WHERE task_id = ? AND depends_on_task_id = ?",
        *tasks,
    )
    assert set(verdict.faults) == {"lost writes", "not in any order"}


def test_a_chunk_that_went_without_its_session_is_noticed(done: Round, tmp_path: Path) -> None:
    writes = [op for op in done.ops if op.kind == "write" and op.known]
    newest = max(writes, key=lambda op: op.outcome[1][-1])
    seqs = newest.outcome[1]
    verdict = tampered(
        done, tmp_path, ("log", "prune"), "DELETE FROM agent_log_chunks WHERE seq = ?", seqs[-1]
    )
    assert verdict.faults["sessions pruned in part or too early"]


# Faults planted in the record


Change = Callable[[list[Op]], None]


def judged_with(done: Round, models: tuple[str, ...], change: Change) -> Verdict:
    part = about(done, *models)
    change(part.ops)
    return verdict_on(part)


def test_a_task_held_by_two_at_once_is_noticed(done: Round) -> None:
    claim, finish = _surely_held(done)

    def plant(ops: list[Op]) -> None:
        task, key = finish.args[0], finish.key
        meanwhile = replace(claim, kind="claim", args=(task, "x", None), outcome="ok", key=key)
        ops.append(replace(meanwhile, begin=0, end=claim.end + 1))
        ops.append(replace(finish, args=(task, "x"), begin=finish.begin - 1))

    verdict = judged_with(done, ("pool",), plant)
    assert verdict.faults["claimed twice"]
    assert [line.partition(":")[0] for line in verdict.faults["not in any order"]] == [finish.key]


def _surely_held(done: Round) -> tuple[Op, Op]:
    """A named agent's claim and its report, where no other claim of it can lie between the two."""
    for finish in done.ops:
        if (finish.kind, finish.outcome) != ("finish", "ok") or finish.args[1] is None:
            continue
        claims = [op for op in done.ops if op.key == finish.key and _is_claim(op, *finish.args)]
        claims = [op for op in claims if op.end < finish.end]
        last = max(claims, key=lambda op: op.end, default=None)
        if last is not None and last.end + 1 < finish.begin - 1:
            return last, finish
    raise AssertionError("no agent finished what it had claimed")


def _is_claim(op: Op, task: int, who: str) -> bool:
    if op.kind == "next":
        return op.outcome == task and op.args[0] == who
    return op.kind == "claim" and op.outcome == "ok" and op.args[:2] == (task, who)


def test_a_task_taken_back_though_its_lease_had_not_passed_is_noticed(done: Round) -> None:
    """The holder had finished it; nothing was left to take back."""
    finish = told(done, "pool", "finish")
    task = f"{finish.key.partition('/')[2]}.{finish.args[0]}"
    last = max(op.end for op in done.ops)
    expire = Op("expire", "expire/short", (), last, last + 1, (task,))
    verdict = judged_with(done, ("pool",), lambda ops: ops.append(expire))
    assert [line.partition(":")[0] for line in verdict.faults["not in any order"]] == [finish.key]


def test_a_question_answered_twice_is_noticed(done: Round) -> None:
    answer = told(done, "conversation", "answer")
    verdict = judged_with(
        done, ("conversation",), lambda ops: ops.append(replace(answer, args=("another",)))
    )
    assert set(verdict.faults) == {"claimed twice", "lost writes", "not in any order"}


def test_a_second_root_page_and_a_second_active_session_are_noticed(done: Round) -> None:
    page = next(op for op in done.ops if op.kind == "get" and op.known)
    session = told(done, "chat", "open")

    def plant(ops: list[Op]) -> None:
        ops.append(replace(page, outcome="another"))
        closes = [op for op in ops if op.key == session.key and op.kind == "close"]
        ops += [replace(session, args=(f"another {number}",)) for number in range(len(closes) + 1)]

    verdict = judged_with(done, ("root", "chat"), plant)
    assert verdict.faults["second root pages"]
    assert verdict.faults["second active sessions"]


def test_accounts_out_of_turn_are_noticed(done: Round) -> None:
    """Each claim took the account after the one that it took."""
    key = f"accounts/{done.plan.name}"

    def plant(ops: list[Op]) -> None:
        at = [number for number, op in enumerate(ops) if op.key == key and op.known]
        for number in at[len(at) // 2 :: 2]:
            ops[number] = replace(ops[number], outcome=(ops[number].outcome + 1) % 4)

    verdict = judged_with(done, ("accounts",), plant)
    assert verdict.faults["rotation broken"]
    assert any(line.startswith(key) for line in verdict.faults["not in any order"])


def test_a_reader_that_missed_a_chunk_or_saw_one_twice_is_noticed(done: Round) -> None:
    reads = [op for op in done.ops if op.kind == "follow" and op.known and len(op.outcome) > 2]
    missed = replace(reads[0], outcome=reads[0].outcome[:1] + reads[0].outcome[2:])
    verdict = judged_with(
        done, ("log", "prune"), lambda ops: ops.__setitem__(ops.index(reads[0]), missed)
    )
    assert set(verdict.faults) == {"chunks missed"}
    verdict = judged_with(done, ("log", "prune"), lambda ops: ops.append(reads[0]))
    assert set(verdict.faults) == {"chunks seen twice"}


def test_a_session_that_was_pruned_too_early_is_noticed(done: Round) -> None:
    write = next(op for op in done.ops if op.kind == "write" and op.known)
    gone = replace(write, outcome=(10**6, (10**9,)))
    verdict = judged_with(done, ("log",), lambda ops: ops.append(gone))
    assert verdict.faults["sessions pruned in part or too early"]


def test_a_busy_error_a_failed_worker_and_a_second_migration_are_noticed(done: Round) -> None:
    claim = told(done, "pool", "claim")
    migration = next(op for op in done.ops if op.kind == "migrate" and op.known and op.outcome)

    def plant(ops: list[Op]) -> None:
        ops.append(replace(claim, outcome="busy", extra="waited"))
        ops.append(migration)

    failed = replace(done, failures=["w1 ended with 1"])
    verdict = judged_with(failed, ("pool", "migrate"), plant)
    assert verdict.faults["busy errors"] == [f"{claim.who}: claim {claim.key}: waited"]
    assert verdict.faults["workers that failed"] == ["w1 ended with 1"]
    assert len(verdict.faults["migrated twice"]) == len(migration.outcome)


def test_a_claim_that_nobody_heard_of_excuses_one_gap_in_the_rotation(done: Round) -> None:
    key = f"accounts/{done.plan.name}"
    claims = sorted((op for op in done.ops if op.key == key and op.known), key=lambda op: op.extra)
    lost = claims[len(claims) // 2]

    def forget(ops: list[Op]) -> None:
        ops.remove(lost)
        ops[:] = [op for op in ops if op.known or op.key != key]  # they excuse gaps too

    def was_killed(ops: list[Op]) -> None:
        ops[ops.index(lost)] = replace(lost, outcome=UNKNOWN)

    assert set(judged_with(done, ("accounts",), forget).faults) == {
        "rotation broken",
        "not in any order",
    }
    assert judged_with(done, ("accounts",), was_killed).faults == {}
