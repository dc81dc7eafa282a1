"""Ctrl-C at every step of a write: what follows is a write like any other, and nothing hangs."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from cwstore.errors import NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import DeliberateError

CODE = str(Path(sys.modules["cwstore"].__file__ or "").parent)


class CtrlC:
    """Raises KeyboardInterrupt where CPython looks for signals: when one of our functions begins,
    and when it has called one that is written in C. `at` is how many such moments pass before.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in {"call", "c_return"} or not frame.f_code.co_filename.startswith(CODE):
            return
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def within(self, work: Callable[[], object]) -> bool:
        """Whether the work was interrupted; False: it has fewer steps than that."""
        sys.setprofile(self)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False


def single(store: Store, name: str) -> None:
    store.initiatives.create(name=name)


def refused(store: Store, name: str) -> None:
    with pytest.raises(NotFoundError):
        store.initiatives.update("nobody", name=name)
    single(store, name)


def counted(store: Store, name: str) -> None:
    with store.transaction():
        single(store, name)
    store.log_chunks.delete_by_agent_id("nobody")


def nested(store: Store, name: str) -> None:
    with store.transaction():
        with store.transaction():
            single(store, name)
        try:
            with store.transaction():
                single(store, "undone")
                raise DeliberateError
        except DeliberateError:
            pass


def looked(store: Store, name: str) -> None:
    store.data_version()
    single(store, name)


@pytest.mark.parametrize("work", [single, refused, counted, nested, looked])
def test_wherever_ctrl_c_comes_a_write_is_whole_or_not_there_and_the_next_is_kept(
    store: Store, work: Callable[[Store, str], None], open_store: OpenStore
) -> None:
    at, maybe = 0, set[str]()
    with open_store(busy_timeout=0) as other:
        work(store, "warm")
        kept = {"warm"}
        while True:
            name = f"step {at}"
            maybe.add(name)
            if not CtrlC(at).within(lambda name=name: work(store, name)):
                break
            kept.add(f"after {at}")
            single(store, f"after {at}")
            single(other, f"other {at}")  # the lock is free
            kept.add(f"other {at}")
            at += 1
        kept.add(name)
        found = [one.name for one in other.initiatives.find_all()]
        assert len(found) == len(set(found))
        assert kept <= set(found) <= kept | maybe
    assert at > 20
    store.close()
