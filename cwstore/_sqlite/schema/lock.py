"""The migration lock: one process migrates a file, and the others wait as long as it lives."""

import os
from collections.abc import Generator
from contextlib import suppress

from cwstore._sqlite.busy_handler import busy_handler
from cwstore._sqlite.database_file import MEMORY, remove
from cwstore._sqlite.side_files import open_side_file
from cwstore.core.blocks import block
from cwstore.errors import BusyError, StorageError

LOCK_TIMEOUT = 600.0  # seconds; who waits holds no lock of the database and can be interrupted


@block
def migration_lock(file: str, *, seconds: float = LOCK_TIMEOUT) -> Generator[None]:
    """Hold `<file>.migrating`, so that the scripts of one run are applied by one process.

    SQLite's own lock ends with each script: without this one, waiting processes would take turns,
    and could not tell a slow migration from a forgotten lock. The system releases it when the
    process dies. The file is removed at the end. Raises BusyError after `seconds`, StorageError.
    """
    if file == MEMORY:
        yield
        return
    name = f"{file}.migrating"
    try:
        descriptor = _take(name, file, seconds)
    except TimeoutError:
        raise BusyError(
            f"{file}: another process has been migrating it for {seconds:g} s; wait for it, or"
            " end it: the file stays whole"
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot make and lock {name}: {error.strerror}; let this user write to the directory"
        ) from None
    try:
        yield
    finally:
        # Removed before it is unlocked: who waits sees that its file has no name, and begins again.
        try:
            with suppress(OSError):  # it may stay: what counts is the lock
                remove(name)
        finally:
            os.close(descriptor)


def _take(name: str, file: str, seconds: float) -> int:
    from fcntl import LOCK_EX, LOCK_NB, flock  # opening an up-to-date file does not need it

    keep_waiting, looks = busy_handler(seconds), 0
    while True:
        descriptor = open_side_file(name, file)
        has_lock = True
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BlockingIOError:
            has_lock = False
        except BaseException:  # Ctrl-C too: this process would wait for itself
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process has it, or it was removed before it was locked
        if not has_lock:
            if not keep_waiting(looks):
                raise TimeoutError
            looks += 1
