"""Conversations: questions between agents, of whose answers the first one wins."""

from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cwstore.entities.conversations import Conversation, ConversationStatus
from cwstore.errors import (
    BusyError,
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _subjects(store: Store) -> None:
    store.initiatives.create(id="i", name="login")
    store.phases.create(id="p", initiative_id="i", name="design")
    store.tasks.create(id="t", name="draw")
    store.agents.create(id="fox", name="brave-fox", worktree_id="/w/fox")
    store.agents.create(id="owl", name="quiet-owl", worktree_id="/w/owl")


def ask(store: Store, **given: Any) -> Conversation:
    """A question of `fox` to `owl`, but for what is given."""
    values: dict[str, Any] = {"from_agent_id": "fox", "to_agent_id": "owl", "question": "why?"}
    return store.conversations.create(**(values | given))


def test_a_question_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = ask(then, id="c", initiative_id="i", phase_id="p", task_id="t")
    assert made == Conversation(
        id="c",
        from_agent_id="fox",
        to_agent_id="owl",
        initiative_id="i",
        phase_id="p",
        task_id="t",
        question="why?",
        answer=None,
        status=ConversationStatus.PENDING,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.conversations.find_by_id("c") == made


def test_a_question_need_not_be_about_anything(store: Store) -> None:
    made = ask(store)
    assert (made.initiative_id, made.phase_id, made.task_id) == (None, None, None)
    assert len(made.id) == 21


def test_an_unknown_conversation_is_none(store: Store) -> None:
    assert store.conversations.find_by_id("gone") is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"from_agent_id": None}, "from_agent_id"),
        ({"to_agent_id": ""}, "to_agent_id"),
        ({"question": None}, "question"),
        ({"question": "\ud800"}, "question"),
        ({"task_id": ""}, "task_id"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ask(store, **given)
    assert caught.value.field == field
    assert store.conversations.find_pending_for_agent("owl") == []


@pytest.mark.parametrize(
    "name", ["from_agent_id", "to_agent_id", "initiative_id", "phase_id", "task_id"]
)
def test_what_a_question_refers_to_must_exist(store: Store, name: str) -> None:
    with pytest.raises(MissingReferenceError):
        ask(store, id="c", **{name: "gone"})
    assert store.conversations.find_by_id("c") is None


def test_an_id_is_taken_once(store: Store) -> None:
    made = ask(store, id="c")
    with pytest.raises(ConflictError):
        ask(store, id="c", question="again?")
    assert store.conversations.find_by_id("c") == made


def test_pending_questions_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = ask(later, id="a")
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = ask(one, id="c")
        b = ask(other, id="b")
    answered = ask(store)
    store.conversations.answer(answered.id, "so")
    back = ask(store, from_agent_id="owl", to_agent_id="fox")
    assert store.conversations.find_pending_for_agent("owl") == [b, c, a]
    assert store.conversations.find_pending_for_agent("fox") == [back]
    assert store.conversations.find_pending_for_agent("gone") == []


def test_an_answer_closes_the_question(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        asked = ask(then)
    with store_at(file, 2) as then:
        answered = then.conversations.answer(asked.id, "because")
    assert answered == replace(
        asked, answer="because", status=ConversationStatus.ANSWERED, updated_at=minute(2)
    )
    assert store.conversations.find_by_id(asked.id) == answered
    assert store.conversations.find_pending_for_agent("owl") == []


def test_an_answer_may_be_empty_and_be_given_by_name(store: Store) -> None:
    answered = store.conversations.answer(ask(store).id, answer="")
    assert (answered.answer, answered.status) == ("", ConversationStatus.ANSWERED)


def test_a_second_answer_is_refused(store: Store) -> None:
    first = store.conversations.answer(ask(store).id, "first")
    with pytest.raises(ConflictError):
        store.conversations.answer(first.id, "second")
    assert store.conversations.find_by_id(first.id) == first


def test_of_answers_given_at_once_one_wins(store: Store) -> None:
    asked = ask(store)
    outcomes: list[Conversation | ConflictError] = []

    def answer(text: str) -> None:
        try:
            outcomes.append(store.conversations.answer(asked.id, text))
        except ConflictError as error:
            outcomes.append(error)

    threads = [Thread(target=answer, args=(f"answer {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [outcome for outcome in outcomes if isinstance(outcome, Conversation)]
    assert len(outcomes) == 8
    assert won == [store.conversations.find_by_id(asked.id)]


def test_why_an_answer_is_refused_is_decided_under_the_same_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    answered = store.conversations.answer(ask(store).id, "so")
    find = store.conversations._db.fetch_one

    with open_store(busy_timeout=0.0) as other:

        def find_later(*args: Any, **binds: Any) -> Any:
            with pytest.raises(BusyError):
                other.agents.delete("fox")
            return find(*args, **binds)

        monkeypatch.setattr(store.conversations._db, "fetch_one", find_later)
        with pytest.raises(ConflictError):
            store.conversations.answer(answered.id, "again")


def test_an_answer_to_an_unknown_question_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.conversations.answer("gone", "so")


@pytest.mark.parametrize("answer", [None, 1, "nul \0", "\ud800"])
def test_a_bad_answer_leaves_the_question_open(store: Store, answer: Any) -> None:
    asked = ask(store)
    with pytest.raises(InvalidValueError) as caught:
        store.conversations.answer(asked.id, answer)
    assert caught.value.field == "answer"
    assert store.conversations.find_by_id(asked.id) == asked


def test_a_question_outlives_what_it_is_about(store: Store) -> None:
    asked = ask(store, initiative_id="i", phase_id="p", task_id="t")
    store.tasks.delete("t")
    assert store.conversations.find_by_id(asked.id) == replace(asked, task_id=None)
    store.phases.delete("p")
    assert store.conversations.find_by_id(asked.id) == replace(asked, task_id=None, phase_id=None)
    store.initiatives.delete("i")
    assert store.conversations.find_by_id(asked.id) == replace(
        asked, task_id=None, phase_id=None, initiative_id=None
    )


@pytest.mark.parametrize("agent", ["fox", "owl"])
def test_a_question_goes_with_either_agent(store: Store, agent: str) -> None:
    asked = ask(store)
    store.agents.delete(agent)
    assert store.conversations.find_by_id(asked.id) is None


def test_questions_are_found_by_who_asked_and_what_about(store: Store) -> None:
    a = ask(store)
    b = ask(store, from_agent_id=a.to_agent_id, to_agent_id=a.from_agent_id, task_id="t")
    c = ask(store, task_id="t")
    assert store.conversations.answer(a.id, "x").answer == "x"
    found = store.conversations.find_by_from_agent_id(a.from_agent_id)
    assert [one.id for one in found] == [a.id, c.id]
    assert store.conversations.find_by_task_id("t") == [b, c]
    assert store.conversations.find_by_from_agent_id("gone") == []
    assert store.conversations.find_by_task_id("gone") == []


def test_a_question_is_deleted_once(store: Store) -> None:
    asked, other = ask(store), ask(store)
    assert store.conversations.delete(asked.id) is True
    assert store.conversations.delete(asked.id) is False
    assert store.conversations.find_by_id(asked.id) is None
    assert store.conversations.get(other.id) == other
