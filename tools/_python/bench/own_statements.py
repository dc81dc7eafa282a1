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
from tools._python.bench.common import make_id, now


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
    return {
        "id": make_id(),
        "phase_id": phase_id,
        "initiative_id": initiative_id,
        "parent_task_id": None,
        "name": name,
        "description": text,
        "type": "auto",
        "category": "execute",
        "priority": "medium",
        "status": "pending",
        "requires_approval": None,
        "sort_order": 0,
        "summary": None,
        "now": now(),
    }


def new_chunk(agent_id: str, name: str, session: int, content: str) -> dict[str, Any]:
    """The binds of APPEND and of APPEND_MANY."""
    return {
        "id": make_id(),
        "agent_id": agent_id,
        "agent_name": name,
        "session_number": session,
        "content": content,
        "now": now(),
        "rising_id": make_id(),
    }
