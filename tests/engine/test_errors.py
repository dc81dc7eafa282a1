"""What errors say, and what they must not hold: spoilt rows, missing references, secrets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cwstore.core.secret import Secret
from cwstore.entities.tasks import _CREATE_DEPENDENCY
from cwstore.errors import (
    ConflictError,
    CorruptDatabaseError,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
)
from cwstore.store import Store
from tests.kits.canary import told_by
from tests.kits.database import OpenStore, contents, open_at, tamper
from tests.kits.engine import (
    assert_ours_alone,
    locked,
)
from tests.kits.postgres import address_of

SECRET = "sk-do-not-tell-7f3a"


# Rows that another program spoilt


@pytest.mark.only_sqlite("a rule must be dropped first, which is noticed at opening")
def test_a_value_that_no_version_of_ours_wrote_is_reported_as_damage(
    file: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        good = store.initiatives.create(name="good")
        bad = store.initiatives.create(name="bad")
    tamper(file, "UPDATE initiatives SET status = 'dreaming' WHERE name = 'bad'")
    with open_store() as store:
        for call in (
            lambda: store.initiatives.find_by_id(bad.id),
            store.initiatives.find_all,
            lambda: store.initiatives.update(bad.id, name="renamed"),
        ):
            with pytest.raises(CorruptDatabaseError, match=r"Initiative .*dreaming.*cwstore check"):
                call()
        assert store.initiatives.find_by_id(good.id) == good
        repaired = store.initiatives.update(bad.id, status="active")
        assert repaired == replace(bad, updated_at=repaired.updated_at)


def test_a_time_beyond_the_year_9999_is_reported_as_damage(
    file: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        store.initiatives.create(name="late")
    tamper(file, "UPDATE initiatives SET created_at = 9223372036854775807")
    with open_store() as store, pytest.raises(CorruptDatabaseError, match="Initiative"):
        store.initiatives.find_all()


@pytest.mark.only_sqlite("damages a page of a file")
def test_a_damaged_page_is_reported_and_nothing_is_repaired(
    file: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        for number in range(200):
            store.initiatives.create(name=f"initiative {number} " + "x" * 300)
    whole = file.read_bytes()
    page = whole.index(b"initiative 150") // 4096
    file.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
    damaged = file.read_bytes()
    with open_store() as store:
        with pytest.raises(CorruptDatabaseError) as caught:
            store.initiatives.find_all()
        assert str(caught.value) == (
            "initiatives: database disk image is malformed; nothing was repaired: run"
            f" `cwstore check {file}`; if it finds damage, `cwstore restore BACKUP {file}`; if it"
            " finds none, check the disk"
        )
        assert_ours_alone(caught.value)
        assert not store.check().ok
    assert file.read_bytes() == damaged


# References


def test_what_is_missing_is_named(store: Store, file: Path) -> None:
    task = store.tasks.create(name="task")
    fox = store.agents.create(name="swift-fox", worktree_id="w").id
    before = contents(file)
    calls: list[tuple[Callable[[], object], str]] = [
        (
            lambda: store.tasks.create(name="x", phase_id="nowhere"),
            "tasks.phase_id: no row of phases has the id 'nowhere'; create it first",
        ),
        (
            lambda: store.tasks.create(name="x", parent_task_id="nobody"),
            "tasks.parent_task_id: no row of tasks has the id 'nobody'; create it first",
        ),
        (
            lambda: store.tasks.create_dependency(task.id, "nobody"),
            (
                "task_dependencies.depends_on_task_id: no row of tasks has the id 'nobody';"
                " create it first"
            ),
        ),
        (
            lambda: store.tasks.create_dependencies([("nobody", task.id)]),
            "task_dependencies.task_id: no row of tasks has the id 'nobody'; create it first",
        ),
        (
            lambda: store.agents.update(fox, task_id=task.id, account_id="a", initiative_id="i"),
            "agents.initiative_id: no row of initiatives has the id 'i'; create it first",
        ),
        (
            lambda: store.conversations.create(
                from_agent_id=fox, to_agent_id=fox, question="?", task_id=task.id, phase_id="p"
            ),
            "conversations.phase_id: no row of phases has the id 'p'; create it first",
        ),
        (
            lambda: store.agents.create(name="calm-fox", worktree_id="w", account_id="nobody's"),
            """agents.account_id: no row of accounts has the id "nobody's"; create it first""",
        ),
        (
            lambda: store.phases.create(initiative_id="nothing", name="x"),
            "phases.initiative_id: no row of initiatives has the id 'nothing'; create it first",
        ),
    ]
    for call, message in calls:
        with pytest.raises(MissingReferenceError) as caught:
            call()
        assert str(caught.value) == message
        assert caught.value.field == message.partition(":")[0].partition(".")[2]
        assert_ours_alone(caught.value)
    assert contents(file) == before
    agent = store.agents.create(name="calm-fox", worktree_id="w")
    with store.transaction():
        with pytest.raises(MissingReferenceError, match=r"agents\.task_id: no row of tasks has"):
            store.agents.update(agent.id, task_id="nobody")
        store.agents.update(agent.id, task_id=task.id)
    assert [one.id for one in store.agents.find_by_task_id(task.id)] == [agent.id]


# What an error may hold


@pytest.mark.only_sqlite("looks inside of it")
def test_nothing_of_apsw_and_no_secret_hangs_on_any_error(
    file: Path, tmp_path: Path, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=0) as store:
        kept = store.accounts.create(email="a@example.org", credentials=f'"{SECRET}"')
        task = store.tasks.create(name="x")
        calls: list[Callable[[], object]] = [
            lambda: store.accounts.create(email="e", credentials=f"{SECRET}\ud800"),
            lambda: store.accounts.create(email="e", credentials=f"{SECRET}\0"),
            lambda: store.accounts.create(email="e", credentials=f"{SECRET} is not JSON"),
            lambda: store.accounts.create(email="e", credentials=SECRET.encode()),  # type: ignore[arg-type]
            lambda: store.accounts.create(email="e", credentials=f'"{SECRET}"', id=kept.id),
            lambda: store.accounts.create(email="\ud800", credentials=f'"{SECRET}"'),
            lambda: store.accounts.create(email="e", config_json=f"{SECRET}\ud800"),
            lambda: store.accounts.create(email="e", config_json=f"{SECRET} is not JSON"),
            lambda: store.accounts.create(email="e", config_json=f'"{SECRET}"', id=kept.id),
            lambda: store.accounts.update(kept.id, config_json=f"{SECRET}\0"),
            lambda: store.accounts.update(kept.id, config_json=f"{SECRET} is not JSON"),
            lambda: store.accounts.update(kept.id, credential=f'"{SECRET}"'),  # type: ignore[call-arg]
            lambda: store.messages.create(
                sender_type="user",
                recipient_type="user",
                content=Secret(SECRET),  # type: ignore[arg-type]
            ),
            lambda: store.accounts.update(kept.id, credentials=f"{SECRET}\ud800"),
            lambda: store.accounts.update(kept.id, credentials=f"{SECRET} is not JSON"),
            lambda: store.accounts.update("nobody", credentials=f'"{SECRET}"'),
            lambda: store.accounts.update(
                kept.id, if_updated_at=kept.created_at.replace(year=1999), credentials=f'"{SECRET}"'
            ),
            lambda: store.tasks.create(name="x", id=task.id),
            lambda: store.tasks.create(name="x", phase_id="nothing"),
            lambda: store.tasks.create_dependency(task.id, task.id),
            lambda: open_at(tmp_path),
        ]
        with locked(file):
            calls_when_locked = [
                lambda: store.accounts.create(email="e", credentials=f'"{SECRET}"'),
                lambda: store.accounts.update(kept.id, credentials=f'"{SECRET}"'),
            ]
            for call in calls_when_locked:
                assert_tells_nothing(call)
        for call in calls:
            assert_tells_nothing(call)
        assert SECRET not in repr(store.accounts.find_all())
        assert store.accounts.find_all() == [kept]
    assert_tells_nothing(lambda: store.accounts.create(email="e", credentials=f'"{SECRET}"'))


def assert_tells_nothing(call: Callable[[], object]) -> None:
    with pytest.raises(CwstoreError) as caught:
        call()
    assert_ours_alone(caught.value)
    assert SECRET not in told_by(caught.value)


def test_a_surrogate_in_any_text_is_refused_by_name(store: Store, file: Path) -> None:
    task = store.tasks.create(name="x")
    before = contents(file)
    for field, call in (
        ("name", lambda: store.tasks.create(name="a\ud800", description="ü")),
        ("description", lambda: store.tasks.create(name="ü", description="\udfff")),
        ("id", lambda: store.tasks.find_by_id("\ud800")),
        ("summary", lambda: store.tasks.update(task.id, summary="\udc00")),
        ("depends_on_task_id", lambda: store.tasks.create_dependency(task.id, "\ud800")),
    ):
        with pytest.raises(InvalidValueError, match="lone surrogate") as caught:
            call()
        assert caught.value.field == field
        assert_ours_alone(caught.value)
    assert contents(file) == before


def test_a_taken_value_is_named_by_its_column_and_the_row_if_it_is_there(store: Store) -> None:
    for name in ("calm-fox", "dark-owl"):
        store.agents.create(name=name, worktree_id="w", id=name)
    for call, column, row in (
        (lambda: store.agents.create(name="calm-fox", worktree_id="v"), "name", None),
        (lambda: store.agents.create(name="x", worktree_id="v", id="dark-owl"), "id", "dark-owl"),
        (lambda: store.agents.update("dark-owl", name="calm-fox"), "name", "dark-owl"),
    ):
        with pytest.raises(ConflictError, match=rf"^agents\.{column}: this value is ta") as caught:
            call()
        conflict = caught.value
        assert (conflict.reason, conflict.table, conflict.id) == ("taken", "agents", row)
        assert_ours_alone(conflict)


# Many rows with one statement


def test_many_rows_need_no_stamp(store: Store) -> None:
    one, two, three = (store.tasks.create(name=name).id for name in ("one", "two", "three"))
    edges = [(two, one), (three, two), (three, one)]
    rows = [{"task_id": task, "depends_on_task_id": needed} for task, needed in edges]
    store.tasks._db.insert_many(_CREATE_DEPENDENCY, rows)
    assert store.tasks.get_dependencies(two) == [one]
    assert store.tasks.get_dependencies(three) == [one, two]


def test_many_rows_for_a_table_that_somebody_removed_are_refused_as_damage(
    store: Store, file: Path
) -> None:
    tamper(file, "DROP TABLE agent_log_chunks")
    with pytest.raises(CorruptDatabaseError, match=r"agent_log_chunks: .* run `cwstore check"):
        store.log_chunks.insert_chunks([("agent", "name", 1, "content")])


# What others added


_FREEZE = {
    "": ("CREATE TRIGGER mine BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'frozen'); END",),
    "postgresql": (
        """
        CREATE FUNCTION say_no() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RAISE EXCEPTION ''frozen''; END'
        """,
        "CREATE TRIGGER mine BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION say_no()",
    ),
}


def test_what_a_trigger_of_somebody_else_says_is_told_and_taken_for_no_cycle(
    file: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        task = store.tasks.create(name="t")
    for sql in _FREEZE["postgresql" if address_of(file) else ""]:
        tamper(file, sql)
    with open_store() as store:
        with pytest.raises(InvalidValueError) as caught:
            store.tasks.update(task.id, name="other")
        assert (caught.value.field, str(caught.value)) == (
            "row",
            "row: a trigger refused what was to be written to tasks: frozen",
        )
        assert_ours_alone(caught.value)
        assert store.tasks.get(task.id) == task
