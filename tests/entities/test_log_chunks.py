"""Log chunks: appending, following, and every refusal."""

from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cwstore.entities.log_chunks import LogChunk, NewLogChunk
from cwstore.errors import ConflictError, InvalidValueError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import (
    NANOID,
    SetClock,
    assert_refused_calls,
    moment,
    refused,
    undone,
)


def append(store: Store, agent_id: str, session_number: int, *texts: str) -> list[LogChunk]:
    return [
        store.log_chunks.insert_chunk(
            agent_id, agent_name=f"name of {agent_id}", session_number=session_number, content=text
        )
        for text in texts
    ]


def test_a_chunk_is_kept_as_it_came(open_store: OpenStore) -> None:
    content = '{"type": "x"}\r\n{"half \N{SNOWMAN}'
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.log_chunks.insert_chunk(
            "nobody", agent_name="jolly-penguin", session_number=3, content=content
        )
        assert made == LogChunk(
            seq=1,
            id=made.id,
            agent_id="nobody",
            agent_name="jolly-penguin",
            session_number=3,
            content=content,
            created_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.log_chunks.find_by_agent_id("nobody") == [made]


def test_seq_rises_over_all_agents_and_never_comes_back(store: Store, file: Path) -> None:
    append(store, "a", 1, "x")
    append(store, "b", 1, "", "y")
    assert [chunk.seq for chunk in store.log_chunks.find_by_agent_id("b")] == [2, 3]
    store.log_chunks.delete_by_agent_id("b")
    (last,) = append(store, "a", 1, "z")
    assert last.seq == 4
    chunk = store.log_chunks.insert_chunk(
        "a", agent_name="n", session_number=2**63 - 1, content="", id="own"
    )
    assert (chunk.seq, chunk.id, chunk.session_number) == (5, "own", 2**63 - 1)
    with refused(file, ConflictError):
        store.log_chunks.insert_chunk("b", agent_name="n", session_number=1, content="", id="own")


BAD: list[tuple[str, object]] = [
    ("agent_id", None),
    ("agent_id", ""),
    ("agent_name", ""),
    ("agent_name", 5),
    ("session_number", 0),
    ("session_number", "1"),
    ("session_number", True),
    ("session_number", 2**63),
    ("content", None),
    ("content", b"x"),
    ("content", "a\0b"),
    ("content", "\udfff"),
]


@pytest.mark.parametrize(("field", "value"), [*BAD, ("id", "")])
def test_a_bad_value_is_refused_by_insert_chunk(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"agent_id": "a", "agent_name": "n", "session_number": 1, "content": ""}
    given[field] = value
    with refused(file, InvalidValueError, field):
        store.log_chunks.insert_chunk(**given)


@pytest.mark.parametrize(("field", "value"), BAD)
def test_of_many_chunks_none_is_kept_if_one_is_bad(
    store: Store, file: Path, field: str, value: object
) -> None:
    good: NewLogChunk = {"agent_id": "a", "agent_name": "n", "session_number": 1, "content": "x"}
    bad: Any = good | {field: value}
    with refused(file, InvalidValueError, field):
        store.log_chunks.insert_chunks([good, bad])


@pytest.mark.parametrize(
    "chunks",
    [
        None,
        5,
        {"agent_id": "a", "agent_name": "n", "session_number": 1, "content": "x"},
        "text",
        [("a", "n", 1)],
        [("a", "n", 1, "x", "y")],
        [["a", "n", 1, "x"]],
        [{"agent_id": "a", "agent_name": "n", "session_number": 1}],
        [{"agent_id": "a", "agent_name": "n", "session_number": 1, "content": "x", "seq": 1}],
        [{"agent_id": "a", "agent_name": "n", "session_number": 1, "id": "i"}],
        [("a", "n", 1, "x", "i")],
    ],
)
def test_what_is_no_row_of_chunks_is_refused(store: Store, file: Path, chunks: Any) -> None:
    with refused(file, InvalidValueError, "chunks"):
        store.log_chunks.insert_chunks(chunks)


def test_many_chunks_come_as_mappings_or_tuples_from_any_iterable(store: Store) -> None:
    chunk: NewLogChunk = {"agent_id": "a", "agent_name": "n", "session_number": 1, "content": "x"}
    other: Any = UserDict(chunk | {"content": "z"})

    def using_the_store() -> Iterator[NewLogChunk | tuple[str, str, int, str]]:
        yield chunk
        append(store, "b", 1, "before all of them")
        yield ("a", "n", 1, "y")
        yield other

    assert store.log_chunks.insert_chunks(using_the_store()) == 3
    assert store.log_chunks.insert_chunks([]) == 0
    stored = store.log_chunks.find_by_agent_id("a")
    assert [(chunk.seq, chunk.content) for chunk in stored] == [(2, "x"), (3, "y"), (4, "z")]
    assert len({chunk.id for chunk in stored}) == 3
    assert all(NANOID.fullmatch(chunk.id) for chunk in stored)
    assert {(chunk.agent_id, chunk.agent_name, chunk.session_number) for chunk in stored} == {
        ("a", "n", 1)
    }


def test_each_of_many_chunks_may_bring_its_own_id(store: Store, file: Path) -> None:
    chunk: NewLogChunk = {"agent_id": "a", "agent_name": "n", "session_number": 1, "content": "x"}
    own: NewLogChunk = {**chunk, "id": "own"}
    none: NewLogChunk = {**chunk, "id": None}
    assert store.log_chunks.insert_chunks([own, chunk, none]) == 3
    first, *others = store.log_chunks.find_by_agent_id("a")
    assert first.id == "own"
    assert all(NANOID.fullmatch(other.id) for other in others)
    with refused(file, ConflictError, match=r"agent_log_chunks\.id"):
        store.log_chunks.insert_chunks([chunk, own])
    for bad in ("", 5):
        given: Any = {**chunk, "id": bad}
        with refused(file, InvalidValueError, "id"):
            store.log_chunks.insert_chunks([chunk, given])


def test_many_chunks_join_the_transaction_of_the_caller(store: Store, file: Path) -> None:
    before = contents(file)
    with undone(store):
        assert store.log_chunks.insert_chunks([("a", "n", 1, "x")]) == 1
    assert contents(file) == before


def test_chunks_are_found_by_agent_session_and_position(store: Store) -> None:
    first = append(store, "a", 1, "1", "2")
    append(store, "b", 1, "other")
    second = append(store, "a", 2, "3", "4")
    late = append(store, "a", 1, "5")
    chunks = store.log_chunks
    all_of_a = [*first, *second, *late]
    assert chunks.find_by_agent_id("a") == all_of_a
    assert chunks.find_by_agent_id("a", session_number=1) == [*first, *late]
    assert chunks.find_by_agent_id("a", session_number=2) == second
    assert chunks.find_by_agent_id("a", session_number=3) == []
    assert chunks.find_by_agent_id("nobody") == []
    assert chunks.find_by_agent_id("a", after=0) == all_of_a
    assert chunks.find_by_agent_id("a", after=-5) == all_of_a
    assert chunks.find_by_agent_id("a", after=first[0].seq) == all_of_a[1:]
    assert chunks.find_by_agent_id("a", after=late[0].seq) == []
    assert chunks.find_by_agent_id("a", session_number=1, after=first[0].seq) == [first[1], *late]
    assert chunks.find_by_agent_id("a", limit=2) == all_of_a[:2]
    assert chunks.find_by_agent_id("a", limit=0) == []
    assert chunks.find_by_agent_id("a", session_number=1, after=first[0].seq, limit=1) == [first[1]]


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6, 500, 2**63 - 1])
def test_iterating_finds_the_same_whatever_the_page(store: Store, page: int) -> None:
    append(store, "a", 1, "1", "2")
    append(store, "a", 2, "3")
    append(store, "b", 1, "other")
    append(store, "a", 1, "4", "5")
    chunks = store.log_chunks
    for given in ({}, {"session_number": 1}, {"after": 2}, {"session_number": 1, "after": 1}):
        expected = chunks.find_by_agent_id("a", **given)
        assert list(chunks.iter_by_agent_id("a", **given, page=page)) == expected
    assert list(chunks.iter_by_agent_id("nobody", page=page)) == []


def test_a_bad_argument_is_refused_before_the_first_chunk_is_asked_for(
    store: Store, file: Path
) -> None:
    append(store, "a", 1, "x")
    chunks = store.log_chunks
    bad: Any = None
    assert_refused_calls(
        file,
        ("agent_id", chunks.find_by_agent_id, (bad,)),
        ("agent_id", chunks.iter_by_agent_id, (bad,)),
        ("agent_id", chunks.iter_by_agent_id, ("",)),
        ("agent_id", chunks.get_session_count, (bad,)),
        ("agent_id", chunks.delete_by_agent_id, (bad,)),
        ("session_number", lambda: chunks.find_by_agent_id("a", session_number=True), ()),
        ("after", lambda: chunks.find_by_agent_id("a", after=2**63), ()),
        ("limit", lambda: chunks.find_by_agent_id("a", limit=-1), ()),
        ("session_number", lambda: chunks.iter_by_agent_id("a", session_number=True), ()),
        ("after", lambda: chunks.iter_by_agent_id("a", after=2**63), ()),
        ("page", lambda: chunks.iter_by_agent_id("a", page=0), ()),
        ("page", lambda: chunks.iter_by_agent_id("a", page=True), ()),
        ("page", lambda: chunks.iter_by_agent_id("a", page=2**63), ()),
        ("page", lambda: chunks.iter_by_agent_id("a", page=bad), ()),
    )


def test_whoever_follows_misses_nothing_and_sees_nothing_twice(
    store: Store, open_store: OpenStore
) -> None:
    def write() -> None:
        with open_store() as own:
            for number in range(100):
                own.log_chunks.insert_chunks(
                    [("a", "n", 1, f"{number}.{part}") for part in range(3)]
                )

    def rest() -> list[LogChunk]:
        return store.log_chunks.find_by_agent_id("a", after=seen[-1].seq if seen else None)

    seen: list[LogChunk] = []
    writers = [Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen += rest()
    seen += rest()
    assert seen == store.log_chunks.find_by_agent_id("a")
    assert [chunk.seq for chunk in seen] == list(range(1, 601))


def test_the_session_count_is_the_greatest_number(store: Store) -> None:
    append(store, "a", 1, "x")
    append(store, "a", 7, "x")
    append(store, "a", 2, "x")
    append(store, "b", 9, "x")
    assert store.log_chunks.get_session_count("a") == 7
    assert store.log_chunks.get_session_count("nobody") == 0
    store.log_chunks.prune(keep_sessions=1)
    assert store.log_chunks.get_session_count("a") == 7


def test_delete_meets_all_sessions_of_one_agent(store: Store) -> None:
    append(store, "a", 1, "x", "y")
    append(store, "a", 2, "z")
    kept = append(store, "b", 1, "x")
    assert store.log_chunks.delete_by_agent_id("a") == 3
    assert store.log_chunks.delete_by_agent_id("a") == 0
    assert store.log_chunks.find_by_agent_id("a") == []
    assert store.log_chunks.find_by_agent_id("b") == kept
    assert store.log_chunks.get_session_count("a") == 0
