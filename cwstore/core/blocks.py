"""`with` blocks that Ctrl-C cannot leave open.

Python looks for signals when a function of its own begins. So Ctrl-C can end an `__exit__` before
its first line, and then nothing ends the block: what it holds stays held as long as the traceback,
which knows the arguments of each function; in a notebook that is until the next error.

Here a `with` statement gets a partial to call at its end. That is written in C, nothing that it
calls knows it, and it is freed when the exception leaves the block: then the block is ended.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")


class Exit:
    """The attribute `__exit__` of such a block."""

    def __get__(self, block: Any, owner: Any) -> Callable[..., bool | None]:
        # contextlib.ExitStack looks for it in the class.
        leave: Callable[..., bool | None] = owner.leave if block is None else block.begin_exit()
        return leave


class _Block(Generic[T]):
    __slots__ = ("_manager", "_watch")

    def __init__(self, manager: Any) -> None:
        self._manager = manager  # of contextlib
        self._watch: ref[partial[bool | None]] | None = None

    def __enter__(self) -> T:
        entered: T = self._manager.__enter__()
        return entered

    if TYPE_CHECKING:

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool | None: ...

    else:
        __exit__ = Exit()

    def begin_exit(self) -> "partial[bool | None]":
        made = partial(self.leave)
        end = self._manager.gen.close
        self._watch = ref(made, lambda _: end())
        return made

    def leave(self, *error: Any) -> bool | None:
        suppressed: bool | None = self._manager.__exit__(*error)
        self._watch = None
        return suppressed


def block(function: Callable[P, Generator[T]]) -> "Callable[P, AbstractContextManager[T]]":
    """As `contextlib.contextmanager`, but the generator is closed wherever Ctrl-C comes."""
    managed = contextmanager(function)

    @wraps(function)
    def begin(*args: P.args, **kwargs: P.kwargs) -> "AbstractContextManager[T]":
        return _Block(managed(*args, **kwargs))

    return begin
