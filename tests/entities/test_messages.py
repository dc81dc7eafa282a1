"""Messages: who may send what, the lists, and responses of which one wins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.messages import Message, MessageStatus, MessageType, PartyType
from cwstore.errors import (
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _agents(store: Store) -> None:
    store.agents.create(id="fox", name="brave-fox", worktree_id="/w/fox")
    store.agents.create(id="owl", name="quiet-owl", worktree_id="/w/owl")


def note(store: Store, **given: Any) -> Message:
    """A message from the user to the agent `fox`, but for what is given."""
    values: dict[str, Any] = {
        "sender_type": "user",
        "recipient_type": "agent",
        "recipient_id": "fox",
        "content": "hello",
    }
    return store.messages.create(**(values | given))


def to_user(store: Store, **given: Any) -> Message:
    """A message from the agent `fox` to the user, but for what is given."""
    values: dict[str, Any] = {
        "sender_type": "agent",
        "sender_id": "fox",
        "recipient_type": "user",
        "recipient_id": None,
    }
    return note(store, **(values | given))


def test_a_message_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    first = note(store)
    with store_at(file, 1) as then:
        made = then.messages.create(
            id="m",
            sender_type=PartyType.AGENT,
            sender_id="fox",
            recipient_type="agent",
            recipient_id="owl",
            type="question",
            content="where?\n",
            requires_response=True,
            status=MessageStatus.READ,
            parent_message_id=first.id,
        )
    assert made == Message(
        id="m",
        sender_type=PartyType.AGENT,
        sender_id="fox",
        recipient_type=PartyType.AGENT,
        recipient_id="owl",
        type=MessageType.QUESTION,
        content="where?\n",
        requires_response=True,
        status=MessageStatus.READ,
        parent_message_id=first.id,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.messages.find_by_id("m") == made


def test_what_is_not_given_has_its_default(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = then.messages.create(sender_type="user", recipient_type="user", content="")
    assert made == Message(
        id=made.id,
        sender_type=PartyType.USER,
        sender_id=None,
        recipient_type=PartyType.USER,
        recipient_id=None,
        type=MessageType.INFO,
        content="",
        requires_response=False,
        status=MessageStatus.PENDING,
        parent_message_id=None,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert len(made.id) == 21
    assert store.messages.find_all() == [made]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"sender_type": "agent"}, "sender_id"),
        ({"sender_type": PartyType.USER, "sender_id": "owl"}, "sender_id"),
        ({"recipient_id": None}, "recipient_id"),
        ({"recipient_type": "user"}, "recipient_id"),
        ({"sender_type": "robot"}, "sender_type"),
        ({"recipient_type": None}, "recipient_type"),
        ({"type": "joke"}, "type"),
        ({"status": "lost"}, "status"),
        ({"content": None}, "content"),
        ({"content": "nul \0"}, "content"),
        ({"requires_response": 1}, "requires_response"),
        ({"parent_message_id": ""}, "parent_message_id"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        note(store, **given)
    assert caught.value.field == field
    assert store.messages.find_all() == []


@pytest.mark.parametrize(
    "given",
    [
        {"sender_type": "agent", "sender_id": "gone"},
        {"recipient_id": "gone"},
        {"parent_message_id": "gone"},
    ],
)
def test_what_a_message_refers_to_must_exist(store: Store, given: dict[str, Any]) -> None:
    with pytest.raises(MissingReferenceError):
        note(store, **given)
    assert store.messages.find_all() == []


def test_an_id_is_taken_once(store: Store) -> None:
    made = note(store, id="m")
    with pytest.raises(ConflictError):
        note(store, id="m", content="other")
    assert store.messages.find_all() == [made]


def test_an_unknown_message_is_none(store: Store) -> None:
    assert store.messages.find_by_id("gone") is None


def test_all_messages_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = note(later, id="a")
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = note(one, id="c")
        b = note(other, id="b")
    assert store.messages.find_all() == [b, c, a]


def test_pending_for_the_user_comes_oldest_first_and_of_one_age_by_id(
    store: Store, file: Path
) -> None:
    with store_at(file, 2) as later:
        a = to_user(later, id="a")
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = to_user(one, id="c")
        b = to_user(other, id="b")
    note(store)
    to_user(store, status="read")
    to_user(store, status="responded")
    assert store.messages.find_pending_for_user() == [b, c, a]


def test_what_requires_a_response_is_found_by_recipient(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = note(later, id="a", requires_response=True)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        d = note(one, id="d", requires_response=True, status="read")
        c = note(other, id="c", requires_response=True)
    with store_at(file, 3) as one, store_at(file, 3) as other:
        f = to_user(one, id="f", requires_response=True)
        e = to_user(other, id="e", requires_response=True)
    with store_at(file, 4) as last:
        owls = note(last, id="b", requires_response=True, recipient_id="owl")
    note(store)
    to_user(store)
    note(store, requires_response=True, status="responded")
    to_user(store, requires_response=True, status="responded")

    find = store.messages.find_requiring_response
    assert find() == [c, d, a, e, f, owls]
    assert find(recipient_type=PartyType.AGENT) == [c, d, a, owls]
    assert find(recipient_type="user") == [e, f]
    assert find(recipient_id="fox") == [c, d, a]
    assert find(recipient_type="agent", recipient_id="fox") == [c, d, a]
    assert find(recipient_type="agent", recipient_id="gone") == []
    assert find(recipient_type="user", recipient_id="fox") == []


@pytest.mark.parametrize("recipient_id", [None, "fox"])
def test_an_unknown_recipient_type_is_refused(store: Store, recipient_id: str | None) -> None:
    unknown: Any = "robot"
    with pytest.raises(InvalidValueError) as caught:
        store.messages.find_requiring_response(recipient_type=unknown, recipient_id=recipient_id)
    assert caught.value.field == "recipient_type"


def test_replies_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    parent = note(store)
    with store_at(file, 2) as later:
        a = to_user(later, id="a", parent_message_id=parent.id)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = to_user(one, id="c", parent_message_id=parent.id)
        b = to_user(other, id="b", parent_message_id=parent.id)
    to_user(store, parent_message_id="a")
    assert store.messages.find_replies(parent.id) == [b, c, a]
    assert store.messages.find_replies("gone") == []


@pytest.mark.parametrize(
    ("patch", "read"),
    [
        ({}, {}),
        ({"content": "new"}, {"content": "new"}),
        ({"status": "read"}, {"status": MessageStatus.READ}),
        ({"requires_response": True}, {"requires_response": True}),
    ],
)
def test_an_update_changes_what_is_given(
    store: Store, file: Path, patch: dict[str, Any], read: dict[str, Any]
) -> None:
    with store_at(file, 1) as then:
        made = note(then)
    other = note(store)
    with store_at(file, 2) as then:
        updated = then.messages.update(made.id, **patch)
    assert updated == replace(made, updated_at=minute(2), **read)
    assert store.messages.find_by_id(made.id) == updated
    assert store.messages.find_by_id(other.id) == other


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"content": None}, "content"),
        ({"status": "lost"}, "status"),
        ({"requires_response": None}, "requires_response"),
        ({"sender_id": "owl"}, "sender_id"),
        ({"parent_message_id": None}, "parent_message_id"),
    ],
)
def test_a_bad_update_changes_nothing(store: Store, patch: dict[str, Any], field: str) -> None:
    made = note(store)
    with pytest.raises(InvalidValueError) as caught:
        store.messages.update(made.id, **patch)
    assert caught.value.field == field
    assert store.messages.find_all() == [made]


def test_an_update_of_a_row_that_changed_since_is_refused(store: Store) -> None:
    made = note(store)
    read = store.messages.update(made.id, status="read", if_updated_at=made.updated_at)
    with pytest.raises(ConflictError):
        store.messages.update(made.id, content="late", if_updated_at=made.updated_at)
    assert store.messages.find_all() == [read]


def test_an_update_of_an_unknown_message_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.messages.update("gone", content="x")


def test_replies_outlive_the_message(store: Store) -> None:
    parent = note(store)
    reply = to_user(store, parent_message_id=parent.id)
    assert store.messages.delete(parent.id) is True
    assert store.messages.find_all() == [replace(reply, parent_message_id=None)]
    assert store.messages.delete(parent.id) is False


def test_mail_outlives_the_agent(store: Store) -> None:
    sent = to_user(store)
    received = note(store)
    store.agents.delete("fox")
    assert store.messages.find_all() == [
        replace(sent, sender_id=None),
        replace(received, recipient_id=None),
    ]


def test_a_response_goes_to_the_sender_and_closes_the_question(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        asked = to_user(then, type="question", requires_response=True)
    with store_at(file, 2) as then:
        reply = then.messages.respond(asked.id, "there", PartyType.USER)
    assert reply == Message(
        id=reply.id,
        sender_type=PartyType.USER,
        sender_id=None,
        recipient_type=PartyType.AGENT,
        recipient_id="fox",
        type=MessageType.RESPONSE,
        content="there",
        requires_response=False,
        status=MessageStatus.PENDING,
        parent_message_id=asked.id,
        created_at=minute(2, microseconds=1),
        updated_at=minute(2, microseconds=1),
    )
    closed = replace(asked, status=MessageStatus.RESPONDED, updated_at=minute(2))
    assert store.messages.find_all() == [closed, reply]
    assert store.messages.find_replies(asked.id) == [reply]
    assert store.messages.find_requiring_response() == []


def test_an_agent_responds_to_the_user_under_its_id(store: Store) -> None:
    asked = note(store)
    reply = store.messages.respond(asked.id, content="yes", sender_type="agent", sender_id="fox")
    assert (reply.sender_type, reply.sender_id) == (PartyType.AGENT, "fox")
    assert (reply.recipient_type, reply.recipient_id) == (PartyType.USER, None)


def test_a_response_to_a_deleted_agent_is_kept_without_a_recipient(store: Store) -> None:
    asked = to_user(store, requires_response=True)
    store.agents.delete("fox")
    reply = store.messages.respond(asked.id, "too late", "user")
    assert (reply.recipient_type, reply.recipient_id) == (PartyType.AGENT, None)
    assert store.messages.find_requiring_response() == []


def test_a_second_response_is_refused(store: Store) -> None:
    asked = to_user(store)
    store.messages.respond(asked.id, "first", "user")
    before = store.messages.find_all()
    with pytest.raises(ConflictError):
        store.messages.respond(asked.id, "second", "user")
    assert store.messages.find_all() == before


def test_a_response_to_an_unknown_message_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.messages.respond("gone", "x", "user")
    assert store.messages.find_all() == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"sender_type": "agent"}, InvalidValueError),
        ({"sender_type": "user", "sender_id": "owl"}, InvalidValueError),
        ({"sender_type": "robot"}, InvalidValueError),
        ({"sender_type": "user", "content": None}, InvalidValueError),
        ({"sender_type": "agent", "sender_id": "gone"}, MissingReferenceError),
    ],
)
def test_a_refused_response_leaves_the_message_open(
    store: Store, given: dict[str, Any], error: type[Exception]
) -> None:
    asked = to_user(store, requires_response=True)
    values: dict[str, Any] = {"content": "x"} | given
    with pytest.raises(error):
        store.messages.respond(asked.id, **values)
    assert store.messages.find_all() == [asked]


def test_a_mailbox_holds_what_was_sent_to_it(store: Store) -> None:
    a = note(store)
    b = note(store, recipient_id="owl", status="read")
    c = to_user(store)
    d = to_user(store, status="responded")
    find = store.messages.find_for_recipient
    assert find("user") == [c, d]
    assert find(PartyType.USER, status="pending") == [c]
    assert find("agent", "fox") == [a]
    assert find("agent", "owl", status=MessageStatus.READ) == [b]
    assert find("agent") == [a, b]
    assert find("agent", status="read") == [b]
    assert find("agent", "gone") == find("user", "fox") == []


def test_an_outbox_holds_what_was_sent_from_it(store: Store) -> None:
    a = note(store)
    b = to_user(store)
    c = to_user(store, sender_id="owl")
    find = store.messages.find_by_sender
    assert find("user") == [a]
    assert find("agent", "fox") == [b]
    assert find("agent", sender_id="owl") == [c]
    assert find("agent") == [b, c]
    assert find("agent", "gone") == find("user", "fox") == []


def test_mail_of_an_agent_that_is_gone_is_still_mail_of_agents(store: Store) -> None:
    note(store)
    to_user(store)
    store.agents.delete("fox")
    (to,) = store.messages.find_for_recipient("agent")
    (by,) = store.messages.find_by_sender("agent")
    assert to.recipient_id is by.sender_id is None
    assert store.messages.find_for_recipient("user") == [by]


def test_what_is_pending_is_marked_as_read(store: Store, file: Path) -> None:
    a, b = note(store), note(store)
    read = note(store, status="read")
    responded = note(store, status="responded")
    ids = [a.id, a.id, read.id, responded.id, "gone"]
    assert store.messages.mark_read(iter(ids)) == 1
    now = store.messages.get(a.id)
    assert now == replace(a, status=MessageStatus.READ, updated_at=now.updated_at)
    assert now.updated_at > a.updated_at
    assert store.messages.find_all() == [now, b, read, responded]
    assert store.messages.mark_read(ids) == store.messages.mark_read([]) == 0


@pytest.mark.parametrize(
    ("ids", "index"),
    [("m", None), (5, None), (["a", ""], 1), (["a", "b", 5], 2), (["\ud800"], 0), (["a\0"], 0)],
)
def test_bad_ids_are_refused_by_their_place(store: Store, ids: Any, index: int | None) -> None:
    message = note(store, id="a")
    with pytest.raises(InvalidValueError) as caught:
        store.messages.mark_read(ids)
    assert (caught.value.field, caught.value.index) == ("ids", index)
    assert store.messages.get("a") == message
