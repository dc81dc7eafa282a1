"""An awaited repository is at run time what its types say."""

import asyncio
import inspect
import pydoc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from cwstore import AsyncStore, LogChunk, Store
from cwstore.entities.agents import AgentRepository
from cwstore.entities.registry import ENTITIES, repository_class
from cwstore.entities.tasks import TaskRepository


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def with_store(file: Path, look: Callable[[AsyncStore], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await AsyncStore.open(file) as store:
            await look(store)

    asyncio.run(run())


def test_each_is_of_a_class_that_is_made_once(file: Path) -> None:
    async def look(store: AsyncStore) -> None:
        async with await AsyncStore.open(file) as other:
            for attribute in ENTITIES:
                one = getattr(store, attribute)
                kind = repository_class(attribute)
                assert isinstance(one, kind)
                assert (
                    type(one) is type(getattr(other, attribute)) is getattr(AsyncStore, attribute)
                )
                assert one is getattr(store, attribute)
                assert (type(one).__name__, type(one).__module__) == (
                    f"Async{kind.__name__}",
                    kind.__module__,
                )

    with_store(file, look)


@pytest.mark.parametrize("attribute", ENTITIES)
def test_its_methods_have_the_names_signatures_and_docstrings_of_the_plain_ones(
    attribute: str,
) -> None:
    plain = repository_class(attribute)
    awaited = getattr(AsyncStore, attribute)
    for name in (name for name in dir(plain) if not name.startswith("_")):
        method, original = getattr(awaited, name), getattr(plain, name)
        assert method is not original
        assert (method.__name__, method.__doc__) == (name, original.__doc__)
        if hasattr(original, "streams"):
            continue
        assert inspect.iscoroutinefunction(method)
        assert inspect.signature(method) == inspect.signature(original)


def test_a_stream_is_an_iterator_that_is_awaited(file: Path) -> None:
    plain, awaited = Store.log_chunks.iter_by_agent_id, AsyncStore.log_chunks.iter_by_agent_id
    assert inspect.signature(plain).return_annotation == Iterator[LogChunk]
    assert inspect.signature(awaited) == inspect.signature(plain).replace(
        return_annotation=AsyncIterator[LogChunk]
    )

    async def look(store: AsyncStore) -> None:
        await store.log_chunks.insert_chunk(
            agent_id="a", agent_name="a", session_number=1, content="x"
        )
        assert [chunk.content async for chunk in store.log_chunks.iter_by_agent_id("a")] == ["x"]

    with_store(file, look)


def test_help_shows_them() -> None:
    text = pydoc.plain(pydoc.render_doc(AsyncStore.tasks))
    assert "async create(self, *, name: str" in text
    assert "Create, read, update, order and claim tasks." in text


def test_a_mock_of_a_store_knows_its_repositories() -> None:
    plain: Any = create_autospec(Store, instance=True)
    plain.tasks.create(name="t")
    plain.tasks.create.assert_called_once_with(name="t")
    with pytest.raises(TypeError, match="'name'"):
        plain.tasks.create(nmae="t")
    with pytest.raises(AttributeError, match="initiative"):
        _ = plain.initiative
    awaited: Any = create_autospec(AsyncStore, instance=True)
    awaited.tasks.create.return_value = "a task"

    async def call() -> object:
        return await awaited.tasks.create(name="t")

    assert asyncio.run(call()) == "a task"
    with pytest.raises(TypeError, match="'id'"):
        awaited.agents.find_by_id(nmae="t")


def test_the_classes_of_a_store_know_those_of_its_repositories() -> None:
    assert (Store.tasks, Store.agents) == (TaskRepository, AgentRepository)
    assert issubclass(getattr(AsyncStore, "tasks"), TaskRepository)  # noqa: B009


plain: Any = TaskRepository


class Doubled(TaskRepository[Any]):
    """A service may add to a repository of ours."""

    def create_two(self, name: str) -> int:
        """Make two, and it is not said whether that writes."""
        for _ in range(2):
            plain.create(self, name=name)
        return 2


def test_a_repository_that_was_derived_from_ours_is_awaited_too(file: Path) -> None:
    async def look(store: AsyncStore) -> None:
        tasks: Any = store.repository(Doubled)
        assert await tasks.create_two("t") == 2
        assert [task.name for task in await tasks.find_all()] == ["t", "t"]
        assert await tasks.claim_next_ready() is not None

    with_store(file, look)
    with Store.open(file) as store:
        assert store.repository(Doubled).create_two("t") == 2
