"""cwstore's own statements for the workloads, for adapters that run them without cwstore."""

from types import ModuleType
from typing import Any

from cwstore.core.statement import Statement
from cwstore.entities import (
    accounts,
    conversations,
    log_chunks,
    new_tasks,
    ready_tasks,
    task,
    tasks,
)
from tools._python.bench.common import chunk_row, make_id, now, task_row


def _of(module: ModuleType, name: str) -> Statement[Any]:
    statement: Statement[Any] = vars(module)[name]
    return statement


CREATE = _of(new_tasks, "_CREATE_IN_PHASE")
FIND = _of(task, "FIND_TASK")
PHASE = _of(tasks, "_FIND_BY_PHASE")
ALL = _of(tasks, "_FIND_ALL")
SET: Statement[Any] = vars(tasks)["_UPDATE"].statement({"status": "pending"}, False)
APPEND = _of(log_chunks, "_INSERT_CHUNK")
APPEND_MANY = _of(log_chunks, "_INSERT_ONE_OF_MANY")
POLL = _of(conversations, "_FIND_PENDING_FOR_AGENT")
CLAIM = _of(accounts, "_CLAIM_NEXT_AVAILABLE")
READY: Statement[Any] = vars(ready_tasks)["_READY_OF_INITIATIVE"].find


def new_task(name: str, phase_id: str, initiative_id: str, text: str) -> dict[str, Any]:
    """The binds of CREATE."""
    return {**task_row(name, phase_id, initiative_id, text), "now": now()}


def new_chunk(agent_id: str, name: str, session: int, content: str) -> dict[str, Any]:
    """The binds of APPEND and of APPEND_MANY."""
    row = chunk_row(agent_id, name, session, content)
    return {**row, "now": now(), "rising_id": make_id()}
