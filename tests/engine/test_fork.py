"""A store and the ways in which Python makes processes; more in `test_processes`."""

import multiprocessing
import socket
from collections.abc import Callable
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from pathlib import Path

import pytest

from cwstore.errors import StoreClosedError
from cwstore.store import Store
from tests.kits.database import OpenStore, open_at, open_private
from tests.kits.engine import Other, in_child, locked, names
from tests.kits.postgres import address_of

# Each method of multiprocessing


def serve_lines(file: str, asked: "multiprocessing.SimpleQueue[str | None]") -> None:
    """What a worker process runs: a store of its own, and one initiative for each line."""
    with open_at(file, busy_timeout=60) as store:
        while (line := asked.get()) is not None:
            store.initiatives.create(name=line)


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(multiprocessing.get_context("fork"), id="fork"),
        pytest.param(multiprocessing.get_context("spawn"), id="spawn"),
        pytest.param(multiprocessing.get_context("forkserver"), id="forkserver"),
    ],
)
def test_workers_started_by_any_method_write_beside_the_open_store_of_the_parent(
    store: Store, file: Path, context: ForkContext | SpawnContext | ForkServerContext
) -> None:
    store.initiatives.create(name="by the parent")
    assert names(store) == ["by the parent"]
    asked = context.SimpleQueue()
    workers = [
        context.Process(target=serve_lines, args=(address_of(file) or str(file), asked))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for number in range(6):
        asked.put(f"line {number}")
        store.initiatives.create(name=f"meanwhile {number}")
    for _ in workers:
        asked.put(None)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    expected = [f"line {number}" for number in range(6)]
    expected += [f"meanwhile {number}" for number in range(6)]
    assert sorted(names(store)) == ["by the parent", *expected]
    assert store.check().ok


# The server imports the application, and with it the store, before it forks.
_APPLICATION = """
import os
from cwstore.store import Store
store = Store.open(os.environ["FILE"])
store.initiatives.find_all()
owner = os.getpid()
"""
_USE_FORKSERVER = """
import multiprocessing, os, sys
from pathlib import Path

def work(file, answers):
    import application
    from cwstore.errors import StoreClosedError
    from cwstore.store import Store
    assert application.owner != os.getpid()
    try:
        application.store.initiatives.create(name="never")
    except StoreClosedError as error:
        answers.put(str(error))
    with Store.open(file) as own:
        own.initiatives.create(name="by a worker")

if __name__ == "__main__":
    os.environ["FILE"] = sys.argv[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["application"])
    answers = context.SimpleQueue()
    workers = [context.Process(target=work, args=(sys.argv[1], answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        print(worker.exitcode, answers.get())
"""


def test_a_store_that_the_fork_server_opened_is_refused_in_its_children(
    store: Store, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "application.py").write_text(_APPLICATION)
    main = tmp_path / "main.py"
    main.write_text(_USE_FORKSERVER)
    start = f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = sys.argv[1:]\n"
    # As `python main.py FILE` would, which a spawned child needs.
    start += "import os; os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)\n"
    start += "os.execv(sys.executable, [sys.executable, *sys.argv])"
    with Other(start, main, file) as other:
        refusal = (
            f"the store of {store.path} was opened before this process was forked;"
            " open a store of its own in the child"
        )
        assert other.end() == [f"0 {refusal}"] * 2
    assert names(store) == ["by a worker", "by a worker"]


# A pre-fork server

_SERVER = """
import os, signal, socket, sys
from cwstore.errors import StoreClosedError
from cwstore.store import Store

file, workers = sys.argv[1], int(sys.argv[2])
store = Store.open(file)                        # the application is loaded before the fork
with store.transaction():
    for _ in range(30):
        store.tasks.create(name="work")
listener = socket.create_server(("127.0.0.1", 0))

def serve():
    try:
        store.tasks.claim_next_ready()
        os._exit(3)
    except StoreClosedError:
        pass
    with Store.open(file, busy_timeout=60) as own:
        while True:
            asked, _ = listener.accept()
            with asked:
                if asked.recv(16) == b"die":
                    os.kill(os.getpid(), signal.SIGKILL)
                task = own.tasks.claim_next_ready()
                asked.sendall(task.id.encode())

def start():
    child = os.fork()
    if child == 0:
        try:
            serve()
        finally:
            os._exit(1)
    return child

children = {start() for _ in range(workers)}
print(listener.getsockname()[1], flush=True)
child, status = os.wait()                       # the one that dies
children.remove(child)
assert os.WTERMSIG(status) == signal.SIGKILL
children.add(start())
print("restarted", flush=True)
sys.stdin.readline()
for child in children:
    os.kill(child, signal.SIGTERM)
assert {os.waitpid(child, 0)[1] for child in children} == {signal.SIGTERM}
left = len(store.tasks.find_ready())
assert store.tasks.claim_next_ready() is not None
assert store.check().ok
store.close()
print(left)
"""


def _ask(port: int, question: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(question)
        return connection.recv(100).decode()


def test_a_pre_fork_server_claims_each_task_once_and_survives_a_killed_worker(
    store: Store, file: Path
) -> None:
    with Other(_SERVER, file, 3) as server:
        port = int(server.hear())
        claimed = [_ask(port, b"claim") for _ in range(10)]
        assert _ask(port, b"die") == ""
        assert server.hear() == "restarted"
        claimed += [_ask(port, b"claim") for _ in range(10)]
        server.tell()
        assert server.end() == ["10"]
    assert len(set(claimed)) == 20
    in_progress = {task.id for task in store.tasks.find_all() if task.status == "in_progress"}
    assert set(claimed) < in_progress
    assert len(in_progress) == 21


# What a fork meets


def test_the_write_lock_of_the_parent_outlives_a_child_that_tried_the_store_and_ended(
    store: Store, file: Path
) -> None:
    """Closing any descriptor of the file by plain means would drop it."""
    with store.transaction():
        store.initiatives.create(name="one")

        def try_store() -> str:
            with pytest.raises(StoreClosedError, match="forked"):
                names(store)
            return "tried"

        assert in_child(try_store)() == "tried"
        with Other(_TRY_TO_WRITE, file) as other:
            assert other.end() == ["BusyError"]
        store.initiatives.create(name="two")
    with Other(_TRY_TO_WRITE, file) as other:
        assert other.end() == ["written"]
    assert names(store) == ["one", "two", "other"]


_TRY_TO_WRITE = """
import sys
from cwstore.errors import BusyError
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=0) as store:
    try:
        store.initiatives.create(name="other")
        print("written")
    except BusyError:
        print("BusyError")
"""


def test_a_log_that_is_read_across_a_fork_goes_on_in_the_parent_alone(store: Store) -> None:
    for number in range(5):
        store.log_chunks.insert_chunk(
            "agent", agent_name="a", session_number=1, content=str(number)
        )
    reading = store.log_chunks.iter_by_agent_id("agent", page=2)
    assert [next(reading).content, next(reading).content] == ["0", "1"]

    def read_on() -> str:
        return str(next(reading))

    assert in_child(read_on)().startswith("StoreClosedError: the store of")
    assert [chunk.content for chunk in reading] == ["2", "3", "4"]


def test_each_generation_of_forks_needs_a_store_of_its_own(
    store: Store, open_store: OpenStore
) -> None:
    def child() -> str:
        with open_store() as own:
            own.initiatives.create(name="child")

            def grandchild() -> str:
                refused: list[str] = []
                for inherited in (store, own):
                    with pytest.raises(StoreClosedError, match="forked"):
                        names(inherited)
                    refused.append("refused")
                with open_store() as third:
                    third.initiatives.create(name="grandchild")
                return " ".join(refused)

            said = in_child(grandchild)()
            return f"{said}, {', '.join(names(own))}"

    assert in_child(child)() == "refused refused, child, grandchild"
    store.initiatives.create(name="parent")
    assert names(store) == ["child", "grandchild", "parent"]


@pytest.mark.parametrize("face", ["memory", "file"])
def test_every_way_into_an_inherited_store_is_refused(
    file: Path, face: str, open_store: OpenStore
) -> None:
    with open_store() if face == "file" else open_private() as store:
        task = store.tasks.create(name="x")
        ways: list[Callable[[], object]] = [
            lambda: store.tasks.find_by_id(task.id),
            lambda: store.tasks.claim(task.id),
            lambda: store.agents.reconcile(lambda agent: True),
            lambda: store.log_chunks.prune(keep_sessions=1),
            lambda: store.log_chunks.insert_chunks([("a", "a", 1, "x")]),
            lambda: list(store.log_chunks.iter_by_agent_id("a")),
            lambda: store.pages.get_or_create_root_page("x"),
            store.accounts.claim_next_available,
            store.data_version,
            store.check,
            store.stats,
            lambda: store.backup(file.with_name("copy.db")),
        ]

        def try_all() -> str:
            for way in ways:
                with pytest.raises(StoreClosedError, match="forked; open a store of its own"):
                    way()
            store.close()
            return "all refused"

        assert in_child(try_all)() == "all refused"
        assert store.tasks.claim(task.id).status == "in_progress"
        assert not file.with_name("copy.db").exists()


_FORK_IN_THE_LOOP = """
import asyncio, os, sys
from cwstore.aio import AsyncStore
from cwstore.errors import StoreClosedError

async def use(store):
    refused = 0
    for call in (
        lambda: store.initiatives.find_all(),
        lambda: store.initiatives.create(name="never"),
        lambda: store.transaction(lambda tx: tx.initiatives.create(name="never")),
        lambda: store.data_version(),
    ):
        try:
            await asyncio.wait_for(call(), 20)
        except StoreClosedError as error:
            assert "open a store of its own" in str(error)
            refused += 1
    async with await AsyncStore.open(sys.argv[1]) as own:
        await own.initiatives.create(name="by the child")
    return refused

async def main():
    async with await AsyncStore.open(sys.argv[1]) as store:
        await store.initiatives.create(name="before")
        child = os.fork()
        if child == 0:
            said = 99
            try:
                # The loop of the parent ends with the fork; asyncio itself refuses to go on in it.
                said = asyncio.run(use(store))
            finally:
                os._exit(said)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        await store.initiatives.create(name="after")
        print(*(one.name for one in await store.initiatives.find_all()), sep=", ")

asyncio.run(main())
"""


def test_an_async_store_is_refused_in_a_forked_child(file: Path) -> None:
    """Its threads are not there any more: a call that waited for them would never end."""
    with Other(_FORK_IN_THE_LOOP, file) as other:
        assert other.end() == ["4", "before, by the child, after"]
    with locked(file):
        pass


def test_a_child_made_by_fork_can_use_the_file_while_the_parent_is_killed(
    store: Store, file: Path
) -> None:
    with Other(_PARENT_THAT_IS_KILLED, file) as parent:
        assert parent.hear() == "forked"
        parent.process.kill()
        parent.process.wait()
        parent.tell("go on")
        assert parent.hear() == "child wrote"
    assert names(store) == ["by the parent", "by the child"]
    assert store.check().ok


_PARENT_THAT_IS_KILLED = """
import os, signal, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="by the parent")
child = os.fork()
if child == 0:
    own = Store.open(sys.argv[1])
    print("forked", flush=True)
    sys.stdin.readline()
    own.initiatives.create(name="by the child")
    own.close()
    print("child wrote", flush=True)
    os._exit(0)
signal.pause()
"""
