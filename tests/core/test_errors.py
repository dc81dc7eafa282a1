"""Errors carry what a program needs, and come through copies and pickles as they are."""

import copy
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cwstore import errors
from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
    with_note,
)
from cwstore.store import Store
from tests.kits.engine import locked
from tests.kits.entities import moment

LADEN: list[tuple[CwstoreError, dict[str, object]]] = [
    (NotFoundError("m", table="t", id="x"), {"table": "t", "id": "x"}),
    (
        ConflictError("m", reason=ConflictReason.STALE, table="t", id="x"),
        {"reason": ConflictReason.STALE, "table": "t", "id": "x"},
    ),
    (MissingReferenceError("m", field="f"), {"field": "f"}),
    (InvalidValueError("f", "m", index=3), {"field": "f", "index": 3}),
    (CycleError("m", path=("a", "b")), {"path": ("a", "b")}),
    (
        BusyError("m", waited=1.5, holder="process 7", since=moment(7)),
        {"waited": 1.5, "holder": "process 7", "since": moment(7)},
    ),
]
BARE: list[tuple[CwstoreError, dict[str, object]]] = [
    (NotFoundError("m"), {"table": None, "id": None}),
    (ConflictError("m"), {"reason": ConflictReason.TAKEN, "table": None, "id": None}),
    (MissingReferenceError("m"), {"field": None}),
    (InvalidValueError("f", "m"), {"field": "f", "index": None}),
    (CycleError("m"), {"path": ()}),
    (BusyError("m"), {"waited": None, "holder": None, "since": None}),
    *(
        (kind("m"), {})
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, CwstoreError)
        and "__init__" not in vars(kind)
    ),
]


def same(error: CwstoreError) -> CwstoreError:
    return error


@pytest.mark.parametrize(
    "through",
    [same, copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["itself", "copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize(("error", "carried"), [*LADEN, *BARE])
def test_an_error_has_all_that_it_carries_also_after_a_copy_or_a_pickle(
    error: CwstoreError, carried: dict[str, object], through: Any
) -> None:
    back = through(error)
    assert type(back) is type(error)
    assert (str(back), back.args, vars(back)) == (str(error), error.args, carried)


@pytest.mark.parametrize(("error", "carried"), LADEN)
def test_one_more_sentence_changes_nothing_else(
    error: CwstoreError, carried: dict[str, object]
) -> None:
    more = with_note(error, "And so on.")
    assert type(more) is type(error)
    assert (str(more), vars(more)) == (f"{error} And so on.", carried)


def test_an_item_of_a_batch_is_named_in_the_message() -> None:
    assert str(InvalidValueError("name", "must not be empty", index=2)) == (
        "item 2: name: must not be empty"
    )


# What they say of a store


def conflict(act: Any) -> tuple[ConflictReason, str | None, str | None]:
    with pytest.raises(ConflictError) as caught:
        act()
    return caught.value.reason, caught.value.table, caught.value.id


def test_every_conflict_says_its_reason_and_where_it_is_about_a_row_which(store: Store) -> None:
    store.initiatives.create(name="x", id="i")
    store.phases.create(initiative_id="i", name="x", id="p")
    store.tasks.create(name="x", id="t")
    store.tasks.create(name="x", id="u", phase_id="p")
    for key in "ab":
        store.agents.create(name=key, worktree_id="w", id=key)
    store.tasks.claim("t", agent_id="a")
    question = store.messages.create(
        sender_type="agent", sender_id="a", recipient_type="user", content="?", id="m"
    )
    store.messages.respond(question.id, "!", "user")
    store.conversations.create(from_agent_id="a", to_agent_id="b", question="?", id="c")
    store.conversations.answer("c", "!")
    change = {"entity_type": "task", "entity_id": "t", "action": "create", "new_state": "{}"}
    entries: Any = [change]
    store.change_sets.create(initiative_id="i", entries=entries, id="s")
    store.change_sets.mark_reverted("s")
    store.chat_sessions.create_session("task", "t", initiative_id="i")
    before = moment(0)
    expected: list[tuple[Any, str, str | None, str | None]] = [
        (lambda: store.tasks.create(name="x", id="t"), "taken", "tasks", "t"),
        (lambda: store.agents.create(name="a", worktree_id="w"), "taken", "agents", None),
        (lambda: store.agents.update("b", name="a"), "taken", "agents", "b"),
        (
            lambda: store.chat_sessions.create_session("task", "t", initiative_id="i"),
            "taken",
            "chat_sessions",
            None,
        ),
        (lambda: store.tasks.update("t", if_updated_at=before), "stale", "tasks", "t"),
        (lambda: store.agents.update("a", if_updated_at=before), "stale", "agents", "a"),
        (lambda: store.tasks.claim("t"), "held", "tasks", "t"),
        (lambda: store.tasks.claim("u", agent_id="a"), "held", "agents", "a"),
        (lambda: store.tasks.claim("u"), "not_ready", "tasks", "u"),
        (lambda: store.tasks.complete("t"), "not_held", "tasks", "t"),
        (lambda: store.tasks.release("u"), "not_held", "tasks", "u"),
        (lambda: store.tasks.fail("t", detail="x"), "not_held", "tasks", "t"),
        (
            lambda: store.tasks.extend_lease("t", timedelta(1), agent_id="b"),
            "not_held",
            "tasks",
            "t",
        ),
        (lambda: store.messages.respond("m", "!", "user"), "settled", "messages", "m"),
        (lambda: store.conversations.answer("c", "!"), "settled", "conversations", "c"),
        (lambda: store.change_sets.mark_reverted("s"), "settled", "change_sets", "s"),
    ]
    for act, reason, table, key in expected:
        assert conflict(act) == (ConflictReason(reason), table, key)


def test_what_is_not_possible_in_a_transaction_says_so(store: Store) -> None:
    with store.transaction():
        told = conflict(lambda: store.agents.reconcile(lambda agent: True))
    assert told == (ConflictReason.TRANSACTION, None, None)


def test_a_missing_row_is_named(store: Store) -> None:
    for table, act in (
        ("tasks", lambda: store.tasks.update("x")),
        ("tasks", lambda: store.tasks.claim("x")),
        ("tasks", lambda: store.tasks.complete("x")),
        ("tasks", lambda: store.tasks.why_not_ready("x")),
        ("accounts", lambda: store.accounts.clear_exhausted("x")),
        ("initiatives", lambda: store.pages.get_or_create_root_page("x")),
    ):
        with pytest.raises(NotFoundError) as caught:
            act()
        assert (caught.value.table, caught.value.id) == (table, "x")


def test_a_missing_reference_names_the_argument(store: Store) -> None:
    with pytest.raises(MissingReferenceError) as caught:
        store.phases.create(initiative_id="x", name="x")
    assert caught.value.field == "initiative_id"
    with pytest.raises(MissingReferenceError) as caught:
        store.tasks.create_dependency("x", "y")
    assert caught.value.field == "task_id"


def test_who_waited_in_vain_learns_how_long(store: Store, file: Path) -> None:
    store.tasks.create(name="x", id="t")
    with locked(file), Store.open(file, busy_timeout=0) as other:
        with pytest.raises(BusyError) as caught:
            other.tasks.update("t")
        assert caught.value.waited is not None
        assert caught.value.waited >= 0
