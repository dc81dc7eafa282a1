"""A repository of a service's own: its two faces, for type checkers only."""

from typing import Any, assert_type

from cwstore import AsyncDatabase, AsyncStore, Database, Store
from cwstore.core import Async, Sync
from tests.examples.wishes import Wish, WishRepository


def plain(database: Database, store: Store) -> None:
    wishes = database.repository(WishRepository)
    assert_type(wishes, WishRepository[Sync])
    assert_type(store.repository(WishRepository), WishRepository[Sync])
    assert_type(wishes.create(wisher="Ann", text="a pony"), Wish)
    assert_type(wishes.find_by_wisher("Ann", limit=1), list[Wish])
    assert_type(database.query("SELECT 1"), list[dict[str, Any]])
    wishes.create(wisher="Ann", txt="a pony")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    wishes.update("id", status="grantd")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    use(store)


def use(database: Database) -> None:
    with database.transaction():
        database.repository(WishRepository).delete("id")


def count(tx: Database) -> int:
    return len(tx.query("SELECT 1"))


def plan(tx: Store) -> int:
    return len(tx.tasks.find_all())


async def awaited(database: AsyncDatabase, store: AsyncStore) -> None:
    wishes = database.repository(WishRepository)
    assert_type(wishes, WishRepository[Async])
    assert_type(store.repository(WishRepository), WishRepository[Async])
    assert_type(await wishes.create(wisher="Ann", text="a pony"), Wish)
    async for wish in wishes.iter_all():
        assert_type(wish, Wish)
    assert_type(await database.transaction(count), int)
    assert_type(await store.transaction(plan), int)
    assert_type(await store.transaction(count), int)
    wishes.create(wisher="Ann", txt="a pony")  # type: ignore[call-arg, unused-coroutine]  # pyright: ignore[reportCallIssue]
    print(store.initiative)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(store.initiatives)


def misspelt(store: Store) -> None:
    print(store.initiative)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
