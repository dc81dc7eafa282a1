"""Chat sessions: one active per target, gone with it; and their messages."""

from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cwstore.entities.chat_sessions import (
    ChatMessage,
    ChatRole,
    ChatSession,
    ChatSessionStatus,
    ChatTargetType,
    ChatTargetTypeLike,
)
from cwstore.errors import (
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _targets(store: Store) -> None:
    """A phase and a task, both `x`: what a session is about is known by type and id together."""
    store.initiatives.create(id="i", name="login")
    store.initiatives.create(id="j", name="logout")
    store.phases.create(id="x", initiative_id="i", name="design")
    store.tasks.create(id="x", initiative_id="i", name="draw")
    store.agents.create(id="fox", name="brave-fox", worktree_id="/w/fox")


def talk(store: Store, **given: Any) -> ChatSession:
    """A session about the task `x`, but for what is given."""
    values: dict[str, Any] = {"target_type": "task", "target_id": "x", "initiative_id": "i"}
    return store.chat_sessions.create_session(**(values | given))


def close(store: Store, session: ChatSession) -> ChatSession:
    return store.chat_sessions.update_session(session.id, status="closed")


def test_a_session_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = then.chat_sessions.create_session(
            ChatTargetType.PHASE, "x", initiative_id="i", agent_id="fox", id="s"
        )
    assert made == ChatSession(
        id="s",
        target_type=ChatTargetType.PHASE,
        target_id="x",
        initiative_id="i",
        agent_id="fox",
        status=ChatSessionStatus.ACTIVE,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.chat_sessions.find_session_by_id("s") == made


def test_nobody_need_answer_yet(store: Store) -> None:
    made = talk(store)
    assert made.agent_id is None
    assert len(made.id) == 21


def test_an_unknown_session_is_none(store: Store) -> None:
    assert store.chat_sessions.find_session_by_id("gone") is None


@pytest.mark.parametrize("target_type", ["phase", "task"])
def test_a_second_active_session_is_refused(store: Store, target_type: ChatTargetTypeLike) -> None:
    first = talk(store, target_type=target_type)
    with pytest.raises(ConflictError):
        talk(store, id="s", target_type=target_type)
    assert store.chat_sessions.find_session_by_id("s") is None
    assert store.chat_sessions.find_active_session(target_type, "x") == first


def test_after_one_is_closed_the_next_may_begin(store: Store) -> None:
    closed = close(store, talk(store))
    assert store.chat_sessions.find_active_session("task", "x") is None
    second = talk(store)
    assert store.chat_sessions.find_active_session("task", "x") == second
    assert store.chat_sessions.find_session_by_id(closed.id) == closed


def test_of_sessions_begun_at_once_one_is_active(store: Store) -> None:
    outcomes: list[ChatSession | ConflictError] = []

    def begin() -> None:
        try:
            outcomes.append(talk(store))
        except ConflictError as error:
            outcomes.append(error)

    threads = [Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun = [outcome for outcome in outcomes if isinstance(outcome, ChatSession)]
    assert len(outcomes) == 6
    assert begun == [store.chat_sessions.find_active_session("task", "x")]


def test_an_active_session_is_found_by_type_and_id(store: Store) -> None:
    about_task = talk(store)
    about_phase = talk(store, target_type="phase")
    find = store.chat_sessions.find_active_session
    assert find(ChatTargetType.TASK, "x") == about_task
    assert find("phase", "x") == about_phase
    assert find("phase", "gone") is None
    unknown: Any = "page"
    with pytest.raises(InvalidValueError) as caught:
        find(unknown, "x")
    assert caught.value.field == "target_type"


@pytest.mark.parametrize(
    "given",
    [
        {"target_id": "gone"},
        {"target_type": "phase", "target_id": "only-a-task"},
        {"target_id": "only-a-phase"},
        {"initiative_id": "gone"},
        {"agent_id": "gone"},
    ],
)
def test_what_a_session_refers_to_must_exist(store: Store, given: dict[str, Any]) -> None:
    store.tasks.create(id="only-a-task", initiative_id="i", name="t")
    store.phases.create(id="only-a-phase", initiative_id="i", name="p")
    with pytest.raises(MissingReferenceError):
        talk(store, id="s", **given)
    assert store.chat_sessions.find_session_by_id("s") is None


@pytest.mark.parametrize("target_type", ["phase", "task"])
def test_a_target_of_another_initiative_is_refused(store: Store, target_type: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        talk(store, id="s", target_type=target_type, initiative_id="j")
    assert caught.value.field == "initiative_id"
    assert store.chat_sessions.find_session_by_id("s") is None


def test_a_task_of_no_initiative_is_talked_about_in_any(store: Store) -> None:
    store.tasks.create(id="free", name="free")
    assert talk(store, target_id="free", initiative_id="j").initiative_id == "j"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"target_type": "page"}, "target_type"),
        ({"target_id": ""}, "target_id"),
        ({"target_id": None}, "target_id"),
        ({"initiative_id": None}, "initiative_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        talk(store, **given)
    assert caught.value.field == field
    assert store.chat_sessions.find_active_session("task", "x") is None


def test_a_session_id_is_taken_once(store: Store) -> None:
    made = talk(store, id="s")
    with pytest.raises(ConflictError):
        talk(store, id="s", target_type="phase")
    assert store.chat_sessions.find_session_by_id("s") == made


def test_the_newest_active_session_of_an_agent_is_found(store: Store, file: Path) -> None:
    find = store.chat_sessions.find_active_session_by_agent_id
    for number in range(4):
        store.tasks.create(id=f"t{number}", name="t")
    with store_at(file, 5) as last:
        closed = talk(last, target_id="t3", agent_id="fox")
    close(store, closed)
    assert find("fox") is None
    with store_at(file, 2) as one, store_at(file, 2) as other:
        a = talk(other, id="a", target_id="t1", agent_id="fox")
        b = talk(one, id="b", target_id="t0", agent_id="fox")
    with store_at(file, 1) as earlier:
        talk(earlier, id="c", target_id="t2", agent_id="fox")
    talk(store)
    assert find("fox") == b
    close(store, b)
    assert find("fox") == a
    assert find("gone") is None


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"agent_id": "owl"},
        {"agent_id": None},
        {"status": ChatSessionStatus.CLOSED},
        {"status": ChatSessionStatus.ACTIVE, "agent_id": None},
    ],
)
def test_an_update_changes_what_is_given(store: Store, file: Path, patch: dict[str, Any]) -> None:
    store.agents.create(id="owl", name="quiet-owl", worktree_id="/w/owl")
    with store_at(file, 1) as then:
        made = talk(then, agent_id="fox")
    with store_at(file, 2) as then:
        updated = then.chat_sessions.update_session(made.id, **patch)
    assert updated == replace(made, updated_at=minute(2), **patch)
    assert store.chat_sessions.find_session_by_id(made.id) == updated


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"agent_id": ""}, InvalidValueError),
        ({"agent_id": "gone"}, MissingReferenceError),
        ({"status": "open"}, InvalidValueError),
        ({"status": None}, InvalidValueError),
        ({"target_id": "x"}, InvalidValueError),
    ],
)
def test_a_bad_update_changes_nothing(
    store: Store, patch: dict[str, Any], error: type[Exception]
) -> None:
    made = talk(store)
    with pytest.raises(error):
        store.chat_sessions.update_session(made.id, **patch)
    assert store.chat_sessions.find_session_by_id(made.id) == made


def test_an_update_of_a_row_that_changed_since_is_refused(store: Store) -> None:
    made = talk(store)
    changed = store.chat_sessions.update_session(
        made.id, agent_id="fox", if_updated_at=made.updated_at
    )
    with pytest.raises(ConflictError):
        store.chat_sessions.update_session(made.id, status="closed", if_updated_at=made.updated_at)
    assert store.chat_sessions.find_session_by_id(made.id) == changed


def test_an_update_of_an_unknown_session_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.chat_sessions.update_session("gone", status="closed")


def test_a_closed_session_stays_closed_beside_an_active_one(store: Store) -> None:
    closed = close(store, talk(store))
    talk(store)
    with pytest.raises(ConflictError):
        store.chat_sessions.update_session(closed.id, status="active")
    assert store.chat_sessions.find_session_by_id(closed.id) == closed


def test_a_session_outlives_its_agent(store: Store) -> None:
    made = talk(store, agent_id="fox")
    store.agents.delete("fox")
    assert store.chat_sessions.find_session_by_id(made.id) == replace(made, agent_id=None)


def test_sessions_and_their_messages_go_with_the_target(store: Store) -> None:
    closed = close(store, talk(store))
    active = talk(store)
    about_phase = talk(store, target_type="phase")
    store.chat_sessions.create_message(active.id, role="user", content="hi")
    store.tasks.delete("x")
    find = store.chat_sessions.find_session_by_id
    assert [find(closed.id), find(active.id), find(about_phase.id)] == [None, None, about_phase]
    assert store.chat_sessions.find_messages_by_session_id(active.id) == []
    store.phases.delete("x")
    assert find(about_phase.id) is None


def test_sessions_go_when_the_target_goes_by_cascade(store: Store) -> None:
    store.tasks.create(id="free", name="no initiative")
    store.tasks.create(id="sub", name="no initiative", parent_task_id="free")
    made = talk(store, target_id="sub")
    store.tasks.delete("free")
    assert store.chat_sessions.find_session_by_id(made.id) is None


def test_sessions_go_with_the_initiative(store: Store) -> None:
    store.tasks.create(id="free", name="no initiative")
    made = talk(store, target_id="free")
    store.initiatives.delete("i")
    assert store.chat_sessions.find_session_by_id(made.id) is None


def test_a_message_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    session = talk(store)
    store.change_sets.create(id="cs", initiative_id="i", entries=[])
    with store_at(file, 1) as then:
        made = then.chat_sessions.create_message(
            session.id, role=ChatRole.ASSISTANT, content="done", change_set_id="cs", id="m"
        )
    assert made == ChatMessage(
        id="m",
        chat_session_id=session.id,
        role=ChatRole.ASSISTANT,
        content="done",
        change_set_id="cs",
        created_at=minute(1),
    )
    assert store.chat_sessions.find_messages_by_session_id(session.id) == [made]


def test_a_message_outlives_its_change_set(store: Store) -> None:
    store.tasks.create(id="free", name="no initiative")
    session = talk(store, target_id="free", initiative_id="j")
    store.change_sets.create(id="cs", initiative_id="i", entries=[])
    made = store.chat_sessions.create_message(
        session.id, role="system", content="", change_set_id="cs"
    )
    store.initiatives.delete("i")
    assert store.chat_sessions.find_messages_by_session_id(session.id) == [
        replace(made, change_set_id=None)
    ]


def test_messages_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    session = talk(store)

    def say(then: Store, id: str, chat_session_id: str = session.id) -> ChatMessage:
        return then.chat_sessions.create_message(chat_session_id, role="user", content=id, id=id)

    with store_at(file, 2) as later:
        a = say(later, "a")
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = say(one, "c")
        b = say(other, "b")
    say(store, "d", talk(store, target_type="phase").id)
    assert store.chat_sessions.find_messages_by_session_id(session.id) == [b, c, a]
    assert store.chat_sessions.find_messages_by_session_id("gone") == []


def test_a_closed_session_still_takes_messages(store: Store) -> None:
    session = close(store, talk(store))
    made = store.chat_sessions.create_message(session.id, role="system", content="closed")
    assert store.chat_sessions.find_messages_by_session_id(session.id) == [made]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"role": "robot"}, InvalidValueError),
        ({"content": None}, InvalidValueError),
        ({"content": "nul \0"}, InvalidValueError),
        ({"id": ""}, InvalidValueError),
        ({"change_set_id": "gone"}, MissingReferenceError),
        ({"chat_session_id": "gone"}, MissingReferenceError),
        ({"id": "taken"}, ConflictError),
    ],
)
def test_a_bad_message_is_refused(
    store: Store, given: dict[str, Any], error: type[Exception]
) -> None:
    session = talk(store)
    taken = store.chat_sessions.create_message(session.id, role="user", content="hi", id="taken")
    values: dict[str, Any] = {"chat_session_id": session.id, "role": "user", "content": "x"} | given
    with pytest.raises(error):
        store.chat_sessions.create_message(**values)
    assert store.chat_sessions.find_messages_by_session_id(session.id) == [taken]


def test_all_sessions_of_a_target_are_found(store: Store) -> None:
    first = close(store, talk(store))
    second = talk(store)
    assert store.chat_sessions.find_sessions(first.target_type, first.target_id) == [first, second]
    assert store.chat_sessions.find_sessions(first.target_type, "gone") == []
    other = "phase" if first.target_type == "task" else "task"
    assert store.chat_sessions.find_sessions(other, first.target_id) == []


def test_a_session_is_deleted_with_its_messages(store: Store) -> None:
    session = talk(store)
    store.chat_sessions.create_message(session.id, role="user", content="x")
    assert store.chat_sessions.delete_session(session.id) is True
    assert store.chat_sessions.delete_session(session.id) is False
    assert store.chat_sessions.find_session_by_id(session.id) is None
    assert store.chat_sessions.find_messages_by_session_id(session.id) == []
    assert talk(store).status == "active"
