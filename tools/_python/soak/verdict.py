"""Compare what the workers were told with what is in the file, and with the models."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cwstore import status
from cwstore.store import Store
from tools._python.soak.afterwards import LEFT_OPEN, OVERWRITTEN, STUCK, judge_afterwards
from tools._python.soak.crew import Round
from tools._python.soak.direct import judge_directly
from tools._python.soak.final import last_call
from tools._python.soak.history import Op
from tools._python.soak.linearizability import UndecidedError, explain
from tools._python.soak.logs import judge_logs
from tools._python.soak.models import beginning

#: What must not happen, in the order of the table.
FAULTS = (
    "claimed twice",
    "lost writes",
    "cycles",
    "busy errors",
    "second root pages",
    "second active sessions",
    "rotation broken",
    "not in any order",
    "chunks missed",
    "chunks seen twice",
    "sessions pruned in part or too early",
    "migrated twice",
    "damage",
    "workers that failed",
    STUCK,
    OVERWRITTEN,
    LEFT_OPEN,
)

_ENOUGH = 10  # histories out of order


@dataclass(slots=True)
class Verdict:
    """What went wrong, by kind, each in a line; nothing at best."""

    faults: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    histories: int = 0  #: that were put in order

    def add(self, kind: str, text: str) -> None:
        """A fault."""
        assert kind in FAULTS
        self.faults.setdefault(kind, []).append(text)


def judge(done: Round, store: Store) -> Verdict:
    """Everything there is to say about a round; the store must rest."""
    verdict = Verdict()
    histories: dict[str, list[Op]] = defaultdict(list)
    for op in done.ops:
        if op.outcome == "busy":  # which promises that nothing was changed
            verdict.add("busy errors", f"{op.who}: {op.kind} {op.key}: {op.extra}")
        elif op.kind == "expire":
            for each in _one_by_one(op):
                histories[each.key].append(each)
        else:
            histories[op.key].append(op)
    for failure in done.failures:
        verdict.add("workers that failed", failure)
    for key, ops in histories.items():
        model, _, thing = key.partition("/")
        match model:
            case "migrate":
                _judge_migration(verdict, key, ops)
            case "log":
                judge_logs(verdict.add, store, thing, ops)
            case "prune" | "reconcile":
                pass
            case _:
                whole = [*ops, last_call(store, key)]
                judge_directly(verdict.add, store, key, whole)
                _judge_order(verdict, key, whole)
    claims = [op for key, ops in histories.items() if key.startswith("pool/") for op in ops]
    _judge_pruning(verdict, done, store)
    _judge_file(verdict, done, store)
    judge_afterwards(verdict.add, store, done.plan, claims)
    return verdict


def _one_by_one(op: Op) -> Iterator[Op]:
    """A call that took back tasks of many pools, as one call for each of them."""
    for task_id in op.outcome if op.known else ():
        pool, _, number = task_id.rpartition(".")
        yield replace(op, key=f"pool/{pool}", args=(int(number),), outcome="ok")


def _judge_order(verdict: Verdict, key: str, ops: list[Op]) -> None:
    if len(verdict.faults.get("not in any order", ())) >= _ENOUGH:
        return  # a search that finds nothing takes longest
    verdict.histories += 1
    try:
        why = explain(ops, *beginning(key))
    except UndecidedError as error:
        why = str(error)
    if why is not None:
        verdict.add("not in any order", f"{key}: {why}")


def _judge_migration(verdict: Verdict, key: str, ops: list[Op]) -> None:
    applied = Counter(name for op in ops if op.known for name in op.outcome)
    for name, times in applied.items():
        if times > 1:
            verdict.add("migrated twice", f"{key}: {name} by {times} processes")


def _judge_pruning(verdict: Verdict, done: Round, store: Store) -> None:
    """What is gone was pruned, and is accounted for unless somebody died over it."""
    pruned = [op for op in done.ops if op.kind == "prune"]
    written = [op for op in done.ops if op.kind == "write"]
    if any(not op.known for op in (*pruned, *written)):
        return
    agents = {op.key.partition("/")[2] for op in written}
    kept = sum(len(store.log_chunks.find_by_agent_id(agent)) for agent in agents)
    told = sum(len(op.outcome[1]) for op in written if op.outcome != "busy")
    gone = sum(op.outcome[1] for op in pruned if op.outcome != "busy")
    if told - kept != gone:
        verdict.add("lost writes", f"chunks: {told} written, {gone} pruned, {kept} kept")


def _judge_file(verdict: Verdict, done: Round, store: Store) -> None:
    plan = done.plan
    report = store.check()
    for problem in (*report.integrity, *report.foreign_keys, *report.drift):
        verdict.add("damage", problem)
    with Store.open(plan.fresh_place) as fresh:
        if not fresh.check().ok:
            verdict.add("damage", f"{fresh.path}: {fresh.check()}")
    found = status(plan.fresh_place)
    if found.pending:
        verdict.add("lost writes", f"{found.path}: {found}")
