"""A write is one round trip to the server, its COMMIT included, and as whole as one in steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cwstore._postgres import writer as writers
from cwstore.core import Repository, command, rows_of
from cwstore.entities.task import FIND_TASK, Task, TaskStatus
from cwstore.errors import (
    ConflictError,
    CorruptDatabaseError,
    CwstoreError,
    NotFoundError,
    OutcomeUnknownError,
    StorageError,
)
from cwstore.store import Store
from tests.kits.database import contents, open_at, tamper
from tests.kits.engine import names, whole_chain

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]


class Mood(StrEnum):
    """Of a wish; a quote belongs to the SQL that looks for it."""

    GLAD = "isn't sad"
    SAD = "sad"


@dataclass(frozen=True, slots=True)
class Wish:
    """One row of a service's own table."""

    id: str
    mood: Mood
    last_mood: Mood | None
    weight: float


_CHANGE = rows_of(Wish)(
    """
    UPDATE wishes
    SET weight = :weight
    WHERE id = :id
    RETURNING id, mood, last_mood, weight;
    """
)
_DIVIDE = rows_of(Wish)(
    """
    UPDATE wishes
    SET weight = 1 / (weight - :weight)
    WHERE id = :id
    RETURNING id, mood, last_mood, weight
    """
)


@dataclass(frozen=True, slots=True)
class Weight:
    """Of a wish; every row of it can be mapped."""

    id: str
    weight: float


_WEIGH = rows_of(Weight)("UPDATE wishes SET weight = :weight WHERE id = :id RETURNING id, weight")
_DIVIDE_ALL = rows_of(Weight)("UPDATE wishes SET weight = 1 / (weight - :weight)")


class WishRepository(Repository):
    """What a service changes."""

    @command
    def change(self, id: str, weight: float) -> Wish | None:
        return self._db.write_one(_CHANGE, id=id, weight=weight)

    @command
    def divide(self, id: str, weight: float) -> Wish | None:
        return self._db.write_one(_DIVIDE, id=id, weight=weight)


@pytest.fixture
def wishes(store: Store, superuser: Connection) -> WishRepository:
    superuser.execute("CREATE TABLE wishes (id text, mood text, last_mood text, weight float8)")
    superuser.execute(
        "INSERT INTO wishes VALUES ('a', 'isn''t sad', NULL, 1), ('b', 'blue', NULL, 1),"
        " ('c', 'sad', 'blue', 1), ('d', NULL, 'sad', 1)"
    )
    return store.repository(WishRepository)


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """The texts that went to the server in each round trip of a writer."""
    made: list[list[bytes]] = []
    run_batch = writers.run_batch

    def counted(connection: Any, messages: Any, cursors: Any) -> None:
        made.append([text for text, _ in messages])
        run_batch(connection, messages, cursors)

    monkeypatch.setattr(writers, "run_batch", counted)
    return made


def fill(store: Store) -> None:
    """An account, three agents, and three tasks."""
    store.accounts.create(id="account", email="e")
    for key in "abc":
        store.agents.create(id=key, name=key, worktree_id="w")
    for number in range(3):
        store.tasks.create(id=f"t{number}", name="x")


WRITES: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.initiatives.create(name="x"),
    "update": lambda store: store.tasks.update("t0", name="y"),
    "append": lambda store: store.log_chunks.insert_chunk(
        "a", agent_name="a", session_number=1, content="x"
    ),
    "claim an account": lambda store: store.accounts.claim_next_available(),
    "claim a task": lambda store: store.tasks.claim_next_ready(lease=timedelta(hours=1)),
    "claim a task for an agent": lambda store: store.tasks.claim_next_ready(agent_id="a"),
    "claim that task": lambda store: store.tasks.claim("t1", agent_id="a"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_one_round_trip(store: Store, trips: list[list[bytes]], name: str) -> None:
    fill(store)
    trips.clear()
    WRITES[name](store)
    ((first, *_, commit, _),) = trips
    assert (first, commit) == (b"BEGIN", b"COMMIT")


def test_a_claim_and_its_report_in_one_trip_each_leave_what_steps_leave(
    store: Store, trips: list[list[bytes]], file: Path
) -> None:
    fill(store)
    trips.clear()
    one = store.tasks.claim_next_ready(agent_id="a", lease=timedelta(hours=1))
    with store.transaction():
        two = store.tasks.claim_next_ready(agent_id="b", lease=timedelta(hours=1))
    assert one is not None
    assert two is not None
    assert [one.id, two.id] == ["t0", "t1"]
    attempts = store.tasks.find_open_attempts()
    assert [
        (got.task_id, got.agent_id, got.agent_name, got.number, got.lease_until is None)
        for got in attempts
    ] == [("t0", "a", "a", 1, False), ("t1", "b", "b", 1, False)]
    agents = {agent.id: agent for agent in store.agents.find_all()}
    assert {key: agent.task_id for key, agent in agents.items()} == {
        "a": "t0",
        "b": "t1",
        "c": None,
    }
    # Every row has a stamp of its own, in the order in which they were written.
    stamps = [
        one.updated_at, agents["a"].updated_at, attempts[0].created_at,
        two.updated_at, agents["b"].updated_at, attempts[1].created_at,
    ]  # fmt: skip
    assert stamps == sorted(set(stamps))
    assert [attempt.id for attempt in attempts] == sorted(attempt.id for attempt in attempts)
    assert store.tasks.complete("t0", agent_id="a").status is TaskStatus.COMPLETED
    assert len(trips) > 2


def test_a_look_on_a_server_is_never_taken_for_still_true(store: Store) -> None:
    looked = store.tasks._db.look(FIND_TASK, id="t0")
    assert looked == (None, None)
    assert store.tasks._db.state_token() is None


# Rows that are no entities


def rows_of_wishes(superuser: Connection) -> list[tuple[Any, ...]]:
    return superuser.execute("SELECT * FROM wishes ORDER BY id").fetchall()


def test_a_row_that_fits_is_written_and_one_that_does_not_is_refused_unchanged(
    wishes: WishRepository, superuser: Connection, trips: list[list[bytes]]
) -> None:
    assert wishes.change("a", 2) == Wish("a", Mood.GLAD, None, 2)
    assert len(trips) == 1
    before = rows_of_wishes(superuser)
    for key in "bcd":
        with pytest.raises(CorruptDatabaseError, match="a row does not fit Wish") as caught:
            wishes.change(key, 2)
        assert [type(one) for one in whole_chain(caught.value)] == [CorruptDatabaseError]
    assert rows_of_wishes(superuser) == before
    assert wishes.change("a", 3) == Wish("a", Mood.GLAD, None, 3)
    assert wishes.change("nobody", 3) is None


def test_a_statement_that_divides_by_zero_itself_is_told_of_that(
    wishes: WishRepository, superuser: Connection
) -> None:
    before = rows_of_wishes(superuser)
    with pytest.raises(CwstoreError, match=r"wishes: PostgreSQL refused it \(22012\)"):
        wishes.divide("a", 1)
    assert rows_of_wishes(superuser) == before
    with pytest.raises(CwstoreError, match=r"wishes: PostgreSQL refused it \(22012\)"):
        wishes._db.execute(_DIVIDE_ALL, weight=1)
    assert rows_of_wishes(superuser) == before
    assert wishes._db.write_one(_WEIGH, id="b", weight=1) == Weight("b", 1)
    assert wishes.divide("a", 2) == Wish("a", Mood.GLAD, None, -1)


def test_a_claim_of_a_task_that_does_not_fit_is_undone_whole(store: Store, file: Path) -> None:
    fill(store)
    tamper(file, "UPDATE tasks SET created_at = 9223372036854775807 WHERE id = 't1'")
    before = contents(file)
    for claim in (
        lambda: store.tasks.claim("t1", agent_id="a"),
        lambda: store.tasks.update("t1", name="y"),
    ):
        with pytest.raises(CorruptDatabaseError, match="a row does not fit Task"):
            claim()
        assert contents(file) == before
    assert store.tasks.claim("t2", agent_id="a").id == "t2"


# Cut, refused and interrupted in the midst


def act_by(store: Store) -> Iterator[Callable[[], object]]:
    yield lambda: store.tasks.claim_next_ready(agent_id="a")
    yield lambda: store.tasks.claim("t0", agent_id="a")


@pytest.mark.parametrize("table", ["tasks", "agents", "task_attempts"])
def test_a_claim_that_the_server_refuses_at_any_statement_changes_nothing(
    store: Store, superuser: Connection, file: Path, table: str
) -> None:
    fill(store)
    superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$"
    )
    event = "INSERT" if table == "task_attempts" else "UPDATE"
    superuser.execute(
        f"CREATE TRIGGER refuses BEFORE {event} ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION refuse()".encode()
    )
    before = contents(file)
    for act in act_by(store):
        with pytest.raises(StorageError, match="53100"):
            act()
        assert contents(file) == before
    superuser.execute(f"DROP TRIGGER refuses ON {table}".encode())
    for act in act_by(store):
        assert isinstance(claimed := act(), Task)
        assert claimed.id == "t0"


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_commit_is_cut_has_an_unknown_outcome(
    store: Store, superuser: Connection, file: Path, name: str
) -> None:
    fill(store)
    superuser.execute(
        "CREATE FUNCTION suicide() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    for table in ("initiatives", "tasks", "accounts", "agent_log_chunks"):
        superuser.execute(
            f"CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION suicide()".encode()
        )
    before = contents(file)
    with pytest.raises(OutcomeUnknownError, match="may or may not be there"):
        WRITES[name](store)
    assert contents(file) == before
    superuser.execute("DROP FUNCTION suicide CASCADE")
    WRITES[name](store)
    assert contents(file) != before


@pytest.mark.parametrize("name", WRITES)
def test_ctrl_c_at_any_message_of_a_write_changes_nothing_and_the_store_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, file: Path, name: str
) -> None:
    fill(store)
    cursor: Any = psycopg.RawCursor
    execute = cursor.execute
    before = contents(file)
    with monkeypatch.context() as patch:
        for text in (b"BEGIN", b"pg_advisory_xact_lock", b"cwstore.stamp", b"COMMIT"):

            def interrupted(
                self: Any, query: Any, *given: Any, _at: bytes = text, **more: Any
            ) -> Any:
                if isinstance(query, bytes) and _at in query:
                    raise KeyboardInterrupt
                return execute(self, query, *given, **more)

            patch.setattr(cursor, "execute", interrupted)
            with pytest.raises(KeyboardInterrupt):
                WRITES[name](store)
            patch.setattr(cursor, "execute", execute)
            assert contents(file) == before
    WRITES[name](store)
    assert contents(file) != before
    assert names(store) == (["x"] if name == "create" else [])


# Two at once for one agent


def overtake(store: Store, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """The next look of the store is followed by this, before anything else."""
    database: Any = type(store._db)
    look = database.look

    def overtaken(self: Any, *given: Any, **binds: Any) -> Any:
        seen = look(self, *given, **binds)
        monkeypatch.setattr(database, "look", look)
        act()
        return seen

    monkeypatch.setattr(database, "look", overtaken)


def test_an_agent_that_got_a_task_since_the_look_gets_that_or_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    with open_at(store.path) as other:
        overtake(store, monkeypatch, lambda: other.tasks.claim("t2", agent_id="a"))
        claimed = store.tasks.claim_next_ready(agent_id="a")
        assert claimed is not None
        assert claimed.id == "t2"
        overtake(store, monkeypatch, lambda: other.tasks.claim("t1", agent_id="b"))
        with pytest.raises(ConflictError, match="'b' holds task 't1'; complete, fail or release"):
            store.tasks.claim("t0", agent_id="b")
        overtake(store, monkeypatch, lambda: other.tasks.claim("t0", agent_id="c"))
        assert store.tasks.claim_next_ready() is None
        made = store.tasks.create(id="t3", name="x")
        agent = store.agents.create(id="d", name="d", worktree_id="w")
        overtake(store, monkeypatch, lambda: other.tasks.delete(made.id))
        assert store.tasks.claim_next_ready(agent_id="d") is None
        assert store.agents.get("d") == agent
    held = {one.task_id: one.agent_id for one in store.tasks.find_open_attempts()}
    assert held == {"t0": "c", "t1": "b", "t2": "a"}


def test_an_agent_that_does_not_exist_claims_nothing(store: Store, file: Path) -> None:
    fill(store)
    before = contents(file)
    for act in (
        lambda: store.tasks.claim_next_ready(agent_id="nobody"),
        lambda: store.tasks.claim("t0", agent_id="nobody"),
    ):
        with pytest.raises(NotFoundError, match="agents: no row has the id 'nobody'"):
            act()
        assert contents(file) == before
