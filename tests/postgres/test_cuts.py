"""A connection that is cut at any message: acknowledged is there, unknown is called so."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from threading import Event
from typing import Any

import psycopg
import pytest

from cwstore.errors import NotFoundError, OutcomeUnknownError, StorageError
from cwstore.store import Store
from tests.kits.engine import DeliberateError
from tests.kits.proxy import ANSWERED, ASKED, Proxy, proxy_to

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]
Work = Callable[[Store, str], object]


@pytest.fixture
def proxy(address: str) -> Iterator[Proxy]:
    with proxy_to(address) as proxy:
        yield proxy


def alone(store: Store, name: str) -> None:
    store.initiatives.create(name=name)


def looked_up(store: Store, name: str) -> None:
    """A write that takes two steps: the row is read first."""
    store.initiatives.update("first", name=name)


def in_levels(store: Store, name: str) -> None:
    with store.transaction():
        store.initiatives.create(name=name)
        with pytest.raises(NotFoundError):
            store.initiatives.update("nobody", name="x")
        try:
            with store.transaction():
                store.initiatives.create(name="undone")
                raise DeliberateError
        except DeliberateError:
            pass
        with store.transaction():
            store.phases.create(initiative_id="first", name=name)


def claimed(store: Store, name: str) -> None:
    task = store.tasks.claim_next_ready(lease=timedelta(hours=1))
    assert task is not None
    store.tasks.complete(task.id, summary=name)


def given(store: Store, name: str) -> None:
    """A claim writes three rows: the task, the agent, the attempt."""
    agent = store.agents.create(name=name, worktree_id="w")
    store.tasks.claim_next_ready(agent_id=agent.id)


def many(store: Store, name: str) -> None:
    store.log_chunks.insert_chunks([(name, "a", 1, str(number)) for number in range(3)])


def exhausted(store: Store, name: str) -> None:
    account = store.accounts.claim_next_available()
    assert account is not None
    store.accounts.update(account.id, email=name)


#: What can be done, and the query that counts what is there of it, once it was done.
WORKS: dict[str, tuple[Work, str, int]] = {
    "alone": (alone, "SELECT count(*) FROM initiatives WHERE name = %(name)s", 1),
    "looked_up": (looked_up, "SELECT count(*) FROM initiatives WHERE name = %(name)s", 1),
    "in_levels": (
        in_levels,
        """SELECT (SELECT count(*) FROM initiatives WHERE name = %(name)s)
            + (SELECT count(*) FROM phases WHERE name = %(name)s)""",
        2,
    ),
    "claimed": (claimed, "SELECT count(*) FROM tasks WHERE summary = %(name)s", 1),
    "given": (
        given,
        """SELECT count(agent.task_id) + count(attempt.id) + count(task.id)
            + (SELECT 10 * count(*) FROM tasks WHERE status = 'in_progress' AND id NOT IN
                (SELECT task_id FROM task_attempts WHERE outcome IS NULL))
            FROM agents AS agent
            LEFT JOIN task_attempts AS attempt ON attempt.agent_id = agent.id AND outcome IS NULL
            LEFT JOIN tasks AS task ON task.id = agent.task_id AND task.status = 'in_progress'
            WHERE agent.name = %(name)s""",
        3,
    ),
    "many": (many, "SELECT count(*) FROM agent_log_chunks WHERE agent_id = %(name)s", 3),
    "exhausted": (exhausted, "SELECT count(*) FROM accounts WHERE email = %(name)s", 1),
}


def until_gone(superuser: Connection, processes: list[int]) -> None:
    """Until the server has noticed the end of these connections."""
    there = b"SELECT 1 FROM pg_stat_activity WHERE pid = ANY (%s)"
    while superuser.execute(there, [processes]).fetchall():
        Event().wait(0.002)


def cut_everywhere(store: Store, superuser: Connection, proxy: Proxy, side: str, what: str) -> int:
    """Do the work again and again, each time cut one message later; how often it was cut."""
    work, counted, whole = WORKS[what]
    for at in count():
        store.tasks.create(name="ready")
        proxy.cut_at(side, at)
        name = f"{what} {at}"
        possible: tuple[int, ...] = (whole,)
        try:
            work(store, name)
        except OutcomeUnknownError:
            possible = (0, whole)
        except StorageError:
            possible = (0,)
        was_cut = proxy.has_cut
        proxy.heal()
        until_gone(superuser, proxy.cut)
        ((found,),) = superuser.execute(counted.encode(), {"name": name}).fetchall()
        # A task is claimed and completed by two calls, each of which is kept by itself.
        assert found in possible, f"message {at}: {found} rows, expected one of {possible}"
        assert superuser.execute("SELECT 1 FROM initiatives WHERE name = 'undone'").rowcount == 0
        store.initiatives.create(name=f"after {name}")
        if not was_cut:
            return at
    raise AssertionError


@pytest.mark.parametrize("side", [ASKED, ANSWERED])
@pytest.mark.parametrize("what", WORKS)
@pytest.mark.slow
def test_wherever_a_connection_is_cut_a_write_is_whole_or_not_there_and_the_store_goes_on(
    store: Store, superuser: Connection, proxy: Proxy, side: str, what: str
) -> None:
    store.initiatives.create(name="x", id="first")
    for number in range(3):
        store.accounts.create(email=str(number))
    store.close()
    with Store.open(proxy.address) as through:
        assert cut_everywhere(through, superuser, proxy, side, what) > 8


@pytest.mark.parametrize("side", [ASKED, ANSWERED])
def test_a_read_that_is_cut_is_asked_again_or_says_so(
    store: Store, superuser: Connection, proxy: Proxy, side: str
) -> None:
    made = store.initiatives.create(name="x")
    store.close()
    with Store.open(proxy.address) as through:
        cuts = 0
        while True:
            proxy.cut_at(side, cuts)
            try:
                assert through.initiatives.find_all() == [made]
            except StorageError:
                assert proxy.has_cut
            if not proxy.has_cut:
                break
            proxy.heal()
            assert through.initiatives.find_all() == [made]
            cuts += 1
    assert cuts > 3
