"""Stands between this process and its files: sees each file operation, and can make it fail.

SQLite lets its system calls be replaced one by one (`xSetSystemCall`); fsync alone is not among
them, and a VFS sees that. What cwstore does itself it does by `os`, `fcntl` and `mmap`, where the
functions are replaced. So no debugger, no root and no preloaded library is needed. Writes to
memory that is mapped (`-shm`, `-turn`) are not seen.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw

#: What `Guard.before` returns for a write or read of which only half is done.
SHORT = -1

_INT, _TEXT, _POINTER = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
_SIZE, _LONG, _SIGNED = ctypes.c_size_t, ctypes.c_long, ctypes.c_ssize_t
_FAILED_MAP = ctypes.c_void_p(-1).value


@dataclass(slots=True)
class Operation:
    """One call about one file."""

    #: open read write truncate sync delete link rename lock map stat list mkdir rmdir mode
    kind: str
    path: str
    other: str = ""  #: the second name of a link or rename
    offset: int = 0
    data: bytes = b""  #: of a write
    size: int = 0  #: of a truncation
    creates: bool = False  #: an open that makes the file if it is not there
    descriptor: int = -1  #: of an open that succeeded; of what is done with an open file

    @property
    def changes(self) -> bool:
        """Whether another process, or a later one, could see that it was done."""
        return self.creates or self.kind in {
            *("write", "truncate", "sync", "delete", "link", "rename", "mkdir", "rmdir")
        }


class Guard:
    """Is asked before each operation below a directory, and told after each that succeeded."""

    def before(self, operation: Operation) -> int:
        """An errno makes it fail, SHORT makes it incomplete, 0 lets it be done."""
        del operation
        return 0

    def after(self, operation: Operation) -> None:
        """It was done."""
        del operation


class _Unix(apsw.VFS):
    """The file system that SQLite uses unless told otherwise. Its calls are shared by all users."""

    def __init__(self) -> None:
        super().__init__("calls", "unix")


class SystemCalls:
    """The calls that are replaced; see `watched`."""

    def __init__(self, root: str, guard: Guard) -> None:
        self.guard = guard
        self._root = root
        self._open: dict[int, str] = {}  # descriptor -> path, below root only
        self._undo: list[Callable[[], object]] = []
        self._kept: list[object] = []  # SQLite calls them by address
        self._broken: list[Exception] = []  # what the guard raised: SQLite cannot pass it on

    def refused(self, operation: Operation) -> int:
        """What the guard says; 0 for what lies elsewhere."""
        try:
            return self.guard.before(operation) if self._is_ours(operation.path) else 0
        except Exception as error:  # noqa: BLE001 raised again by `remove`
            self._broken.append(error)
            return 0

    def done(self, operation: Operation) -> None:
        """Tell the guard."""
        try:
            if self._is_ours(operation.path):
                self.guard.after(operation)
        except Exception as error:  # noqa: BLE001 raised again by `remove`
            self._broken.append(error)

    def _is_ours(self, path: str) -> bool:
        return path.startswith(self._root)

    def install(self) -> None:
        """Replace them all."""
        self._install_in_sqlite(_Unix())
        self._install_methods()
        self._install_in_python()

    def remove(self) -> None:
        """Put back what was there."""
        while self._undo:
            self._undo.pop()()
        if self._broken:
            raise self._broken[0]

    # SQLite

    def _install_in_sqlite(self, vfs: apsw.VFS) -> None:
        offered: set[str] = set()
        name = vfs.xNextSystemCall(None)
        while name:
            offered.add(name)
            name = vfs.xNextSystemCall(name)
        for name, (result, arguments, make) in self._of_sqlite().items():
            if name not in offered:
                continue
            kind = ctypes.CFUNCTYPE(result, *arguments, use_errno=True)
            address: int = vfs.xGetSystemCall(name) or 0
            replacement = kind(make(kind(address)))
            self._kept.append(replacement)
            vfs.xSetSystemCall(name, ctypes.cast(replacement, _POINTER).value or 0)
            self._undo.append(partial(vfs.xSetSystemCall, name, address))

    def _of_sqlite(self) -> "dict[str, tuple[Any, list[Any], Callable[[Any], Any]]]":
        at_offset = [_INT, _POINTER, _SIZE, _LONG]
        return {
            "open": (_INT, [_TEXT, _INT, _INT], self._sqlite_open),
            "openDirectory": (_INT, [_TEXT, ctypes.POINTER(_INT)], self._sqlite_sync_directory),
            "close": (_INT, [_INT], self._sqlite_close),
            "pread": (_SIGNED, at_offset, self._sqlite_read),
            "pread64": (_SIGNED, at_offset, self._sqlite_read),
            "pwrite": (_SIGNED, at_offset, self._sqlite_write),
            "pwrite64": (_SIGNED, at_offset, self._sqlite_write),
            "ftruncate": (_INT, [_INT, _LONG], self._sqlite_truncate),
            "fcntl": (_INT, [_INT, _INT, _POINTER], self._sqlite_lock),
            "fstat": (_INT, [_INT, _POINTER], self._sqlite_fstat),
            "stat": (_INT, [_TEXT, _POINTER], self._sqlite_stat),
            "unlink": (_INT, [_TEXT], self._sqlite_delete),
            "mmap": (_POINTER, [_POINTER, _SIZE, _INT, _INT, _INT, _LONG], self._sqlite_map),
        }

    def _install_methods(self) -> None:
        """SQLite offers no pointer to fsync: replace the method of files that calls it.

        Databases have one table of methods, logs and journals another.
        """
        kind = ctypes.CFUNCTYPE(_INT, _POINTER, _INT, use_errno=True)
        sleep, *syncs = _slots(self._root)
        # Who meets a lock sleeps for up to ten seconds in all; here nobody will let go of it.
        self._replace_pointer(sleep, kind(_no_sleep))
        for slot in syncs:
            self._replace_pointer(slot, kind(self._sqlite_sync(kind(_read_pointer(slot)))))

    def _replace_pointer(self, slot: int, replacement: Any) -> None:
        address = _read_pointer(slot)
        self._kept.append(replacement)
        _write_pointer(slot, ctypes.cast(replacement, _POINTER).value or 0)
        self._undo.append(lambda: _write_pointer(slot, address))

    def _sqlite_sync(self, real: Any) -> Any:
        def call(file: int, flags: int) -> int:
            path = self._path(_descriptor_of(file))
            if self.refused(Operation("sync", path)):
                return apsw.SQLITE_IOERR_FSYNC
            self.done(Operation("sync", path))
            # May sync the directory as well, which is another operation.
            result: int = real(file, flags)
            return result

        return call

    def _run(self, operation: Operation, call: Callable[[], int]) -> int:
        """The call, unless the guard refuses; -1 and errno as the system would."""
        code = self.refused(operation)
        if code:
            ctypes.set_errno(errno.EIO if code == SHORT else code)
            return -1
        result = call()
        if result >= 0:
            self.done(operation)
        return result

    def _sqlite_open(self, real: Any) -> Any:
        def call(path: bytes, flags: int, mode: int) -> int:
            name = os.fsdecode(path)
            operation = Operation("open", name, creates=bool(flags & os.O_CREAT))
            if code := self.refused(operation):
                ctypes.set_errno(errno.EIO if code == SHORT else code)
                return -1
            descriptor: int = real(path, flags, mode)
            if descriptor >= 0:
                self._opened(operation, descriptor)
            return descriptor

        return call

    def _opened(self, operation: Operation, descriptor: int) -> None:
        operation.descriptor = descriptor
        if self._is_ours(operation.path):
            self._open[descriptor] = operation.path
            self.done(operation)

    def _sqlite_sync_directory(self, real: Any) -> Any:
        def call(path: bytes, found: Any) -> int:
            operation = Operation("sync", os.path.dirname(os.fsdecode(path)))
            return self._run(operation, lambda: -1 if real(path, found) else 0)

        def code(path: bytes, found: Any) -> int:
            return errno.EIO if call(path, found) else 0

        return code

    def _sqlite_close(self, real: Any) -> Any:
        def call(descriptor: int) -> int:
            self._open.pop(descriptor, None)
            result: int = real(descriptor)
            return result

        return call

    def _sqlite_read(self, real: Any) -> Any:
        def call(descriptor: int, buffer: int, size: int, offset: int) -> int:
            operation = Operation("read", self._path(descriptor), descriptor=descriptor)
            code = self.refused(operation)
            if code == SHORT:
                size //= 2
            elif code:
                ctypes.set_errno(code)
                return -1
            got: int = real(descriptor, buffer, size, offset)
            return got

        return call

    def _sqlite_write(self, real: Any) -> Any:
        def call(descriptor: int, buffer: int, size: int, offset: int) -> int:
            path = self._path(descriptor)
            if not path:
                elsewhere: int = real(descriptor, buffer, size, offset)
                return elsewhere
            operation = Operation("write", path, offset=offset, descriptor=descriptor)
            operation.data = ctypes.string_at(buffer, size)
            code = self.refused(operation)
            if code == SHORT:
                size //= 2
                operation.data = operation.data[:size]
            elif code:
                ctypes.set_errno(code)
                return -1
            written: int = real(descriptor, buffer, size, offset)
            if written > 0:
                operation.data = operation.data[:written]
                self.done(operation)
            return written

        return call

    def _sqlite_truncate(self, real: Any) -> Any:
        def call(descriptor: int, size: int) -> int:
            path = self._path(descriptor)
            operation = Operation("truncate", path, size=size, descriptor=descriptor)
            return self._run(operation, lambda: real(descriptor, size))

        return call

    def _sqlite_lock(self, real: Any) -> Any:
        def call(descriptor: int, command: int, argument: int | None) -> int:
            if command not in {fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK} or _unlocks(argument):
                other: int = real(descriptor, command, argument)
                return other
            operation = Operation("lock", self._path(descriptor))
            return self._run(operation, lambda: real(descriptor, command, argument))

        return call

    def _sqlite_fstat(self, real: Any) -> Any:
        def call(descriptor: int, found: int) -> int:
            operation = Operation("stat", self._path(descriptor))
            return self._run(operation, lambda: real(descriptor, found))

        return call

    def _sqlite_stat(self, real: Any) -> Any:
        def call(path: bytes, found: int) -> int:
            return self._run(Operation("stat", os.fsdecode(path)), lambda: real(path, found))

        return call

    def _sqlite_delete(self, real: Any) -> Any:
        def call(path: bytes) -> int:
            return self._run(Operation("delete", os.fsdecode(path)), lambda: real(path))

        return call

    def _sqlite_map(self, real: Any) -> Any:
        def call(*arguments: int) -> Any:
            *_, descriptor, _ = arguments
            operation = Operation("map", self._path(descriptor))
            if code := self.refused(operation):
                ctypes.set_errno(errno.ENOMEM if code == SHORT else code)
                return _FAILED_MAP
            return real(*arguments)

        return call

    def _path(self, descriptor: int) -> str:
        return self._open.get(descriptor, "")

    # Python

    def _install_in_python(self) -> None:
        by_path = {
            "unlink": "delete",
            "remove": "delete",
            "mkdir": "mkdir",
            "rmdir": "rmdir",
            "scandir": "list",
            "stat": "stat",
            "lstat": "stat",
            "listdir": "list",
            "chmod": "mode",
            "chown": "mode",
        }
        for name, kind in by_path.items():
            self._replace(os, name, self._python_by_path(getattr(os, name), kind))
        for name, kind in {"link": "link", "rename": "rename", "replace": "rename"}.items():
            self._replace(os, name, self._python_by_two(getattr(os, name), kind))
        self._replace(os, "open", self._python_open(os.open))
        self._replace(os, "close", self._python_close(os.close))
        for name, kind in {"fstat": "stat", "fchmod": "mode", "fchown": "mode"}.items():
            self._replace(os, name, self._python_by_descriptor(getattr(os, name), kind))
        self._replace(os, "fsync", self._python_by_descriptor(os.fsync, "sync"))
        self._replace(os, "pread", self._python_read(os.pread))
        self._replace(os, "pwrite", self._python_write(os.pwrite))
        self._replace(os, "ftruncate", self._python_truncate(os.ftruncate))
        self._replace(fcntl, "flock", self._python_flock(fcntl.flock))
        self._replace(mmap, "mmap", self._python_by_descriptor(mmap.mmap, "map"))

    def _replace(self, module: Any, name: str, replacement: object) -> None:
        """In the module, and wherever cwstore has taken it from there."""
        real = getattr(module, name)
        places = [(module, name)]
        for own in [one for key, one in sys.modules.items() if key.startswith("cwstore")]:
            places += [(own, key) for key, value in vars(own).items() if value is real]
        for place, key in places:
            setattr(place, key, replacement)
            self._undo.append(partial(setattr, place, key, real))

    def _refuse(self, operation: Operation) -> None:
        code = self.refused(operation)
        if code:
            code = errno.EIO if code == SHORT else code
            raise OSError(code, os.strerror(code), operation.path)

    def _python_by_path(self, real: Any, kind: str) -> Any:
        def call(path: Any = ".", *rest: Any, **more: Any) -> Any:
            name = self._path(path) if isinstance(path, int) else os.fsdecode(path)
            operation = Operation(kind, name)
            self._refuse(operation)
            result = real(path, *rest, **more)
            self.done(operation)
            return result

        return call

    def _python_by_two(self, real: Any, kind: str) -> Any:
        def call(old: Any, new: Any, **more: Any) -> None:
            operation = Operation(kind, os.fsdecode(old), os.fsdecode(new))
            self._refuse(operation)
            real(old, new, **more)
            self.done(operation)

        return call

    def _python_open(self, real: Any) -> Any:
        def call(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            operation = Operation("open", os.fsdecode(path), creates=bool(flags & os.O_CREAT))
            self._refuse(operation)
            descriptor: int = real(path, flags, *rest, **more)
            self._opened(operation, descriptor)
            return descriptor

        return call

    def _python_close(self, real: Any) -> Any:
        def call(descriptor: int) -> None:
            self._open.pop(descriptor, None)
            real(descriptor)

        return call

    def _python_by_descriptor(self, real: Any, kind: str) -> Any:
        def call(descriptor: int, *rest: Any, **more: Any) -> Any:
            operation = Operation(kind, self._path(descriptor), descriptor=descriptor)
            self._refuse(operation)
            result = real(descriptor, *rest, **more)
            self.done(operation)
            return result

        return call

    def _python_read(self, real: Any) -> Any:
        def call(descriptor: int, size: int, offset: int) -> bytes:
            operation = Operation("read", self._path(descriptor), descriptor=descriptor)
            code = self.refused(operation)
            if code not in {0, SHORT}:
                raise OSError(code, os.strerror(code), operation.path)
            got: bytes = real(descriptor, size // 2 if code == SHORT else size, offset)
            return got

        return call

    def _python_write(self, real: Any) -> Any:
        def call(descriptor: int, data: bytes, offset: int) -> int:
            path = self._path(descriptor)
            operation = Operation("write", path, offset=offset, data=bytes(data))
            operation.descriptor = descriptor
            self._refuse(operation)
            written: int = real(descriptor, data, offset)
            self.done(operation)
            return written

        return call

    def _python_truncate(self, real: Any) -> Any:
        def call(descriptor: int, size: int) -> None:
            operation = Operation("truncate", self._path(descriptor), size=size)
            operation.descriptor = descriptor
            self._refuse(operation)
            real(descriptor, size)
            self.done(operation)

        return call

    def _python_flock(self, real: Any) -> Any:
        def call(descriptor: int, how: int) -> None:
            self._refuse(Operation("lock", self._path(descriptor)))
            real(descriptor, how)

        return call


# Where SQLite keeps the method that syncs: in `sqlite3_io_methods`, after a number and the methods
# xClose, xRead, xWrite and xTruncate. A file begins with a pointer to them; that of the system's
# files goes on with two other pointers and the descriptor.
_WORD = ctypes.sizeof(_POINTER)
_SYNC_AT, _DESCRIPTOR_AT = 5 * _WORD, 3 * _WORD
# In `sqlite3_vfs`, after three numbers, three pointers and nine methods.
_SLEEP_AT = 2 * 8 + 12 * _WORD


def _no_sleep(_: int, microseconds: int) -> int:
    return microseconds


def _slots(directory: str) -> list[int]:
    """Where the pointers are to the methods that sleep, sync databases, and sync logs."""
    probe = os.path.join(directory, ".probe")
    connection: Any = apsw.Connection(probe)
    try:
        connection.execute("PRAGMA journal_mode = WAL; CREATE TABLE probe (id)").fetchall()
        system = _POINTER()
        connection.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(system))
        slots = [(system.value or 0) + _SLEEP_AT]
        for which, name in (("FILE", probe), ("JOURNAL", f"{probe}-wal")):
            file = _POINTER()
            operation: int = getattr(apsw, f"SQLITE_FCNTL_{which}_POINTER")
            connection.file_control("main", operation, ctypes.addressof(file))
            found = os.fstat(_descriptor_of(file.value or 0))
            if not os.path.samestat(found, os.stat(name)):
                raise RuntimeError("this SQLite is built otherwise than those known: mend _SYNC_AT")
            slots.append(_read_pointer(file.value or 0) + _SYNC_AT)
        return slots
    finally:
        connection.close()
        os.unlink(probe)


def _descriptor_of(file: int) -> int:
    return _INT.from_address(file + _DESCRIPTOR_AT).value


def _read_pointer(address: int) -> int:
    return _POINTER.from_address(address).value or 0


def _write_pointer(address: int, value: int) -> None:
    """Also where memory is constant: its page is made writable first."""
    start = address // mmap.PAGESIZE * mmap.PAGESIZE
    size = ctypes.c_size_t(address + _WORD - start)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(_POINTER(start), size, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), "cannot write to SQLite's table of methods")
    _POINTER.from_address(address).value = value


def _unlocks(argument: int | None) -> bool:
    """Whether a `struct flock` is an F_UNLCK: SQLite does not expect that to fail."""
    return bool(argument) and ctypes.c_short.from_address(argument or 0).value == fcntl.F_UNLCK


@contextmanager
def watched(root: str, guard: Guard) -> Generator[SystemCalls, None, None]:
    """Everything below the directory is done under the eyes of the guard.

    Connections that are open before are seen only in part. One at a time in a process.
    """
    calls = SystemCalls(root, Guard())
    try:
        calls.install()
        calls.guard = guard
        yield calls
    finally:
        calls.remove()
