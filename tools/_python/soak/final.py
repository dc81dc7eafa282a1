"""What is in the file after a round, as the last call of each history."""

from typing import Any

from cwstore.store import Store
from tools._python.soak.actions import EDGE_TASKS
from tools._python.soak.history import Op
from tools._python.soak.pool import POOL_TASKS

_LATER = 2**62  # ns: after everything


def last_call(store: Store, key: str) -> Op:
    """A look at what the key is about."""
    model, _, thing = key.partition("/")
    return Op("final", key, (), _LATER, _LATER, _LAST[model](store, thing), None, "the file")


def _last_pool(store: Store, pool: str) -> Any:
    open_attempts = {attempt.task_id: attempt for attempt in store.tasks.find_open_attempts()}

    def value(task_id: str) -> Any:
        task, attempt = store.tasks.find_by_id(task_id), open_attempts.get(task_id)
        status = "missing" if task is None else str(task.status)
        if status == "in_progress" and attempt is not None:
            return "held", attempt.agent_id
        return status if attempt is None else f"{status}, yet held by {attempt}"

    return tuple(value(f"{pool}.{number}") for number in range(POOL_TASKS))


def _last_conversation(store: Store, id: str) -> Any:
    found = store.conversations.find_by_id(id)
    return found and (found.answer or "")


def _last_message(store: Store, id: str) -> Any:
    if store.messages.find_by_id(id) is None:
        return None
    return "|".join(reply.content for reply in store.messages.find_replies(id))


def _last_setup(store: Store, id: str) -> Any:
    return True if store.initiatives.find_by_id(id) else None


def _last_chat(store: Store, season: str) -> Any:
    found = store.chat_sessions.find_active_session("task", f"{season}.{POOL_TASKS - 1}")
    return found and found.id


def _last_root(store: Store, season: str) -> Any:
    found = store.pages.find_root_page(season)
    return found and found.id


def _last_edges(store: Store, season: str) -> Any:
    return tuple(
        (number, other)
        for number in range(EDGE_TASKS)
        for other in sorted(
            int(one[-1]) for one in store.tasks.get_dependencies(f"{season}.e{number}")
        )
    )


def _last_accounts(store: Store, provider: str) -> Any:
    found = store.accounts.find_by_provider(provider)
    used = sorted(
        found,
        key=lambda one: (one.last_used_at is not None, one.last_used_at or 0, one.sort_order),
    )
    return tuple(int(one.id.rpartition(".")[2]) for one in used)


def _last_agent(store: Store, id: str) -> Any:
    found = store.agents.find_by_id(id)
    return found and str(found.status)


_LAST = {
    "pool": _last_pool,
    "conversation": _last_conversation,
    "message": _last_message,
    "setup": _last_setup,
    "chat": _last_chat,
    "root": _last_root,
    "edges": _last_edges,
    "accounts": _last_accounts,
    "agent": _last_agent,
    "ghost": _last_agent,
}
