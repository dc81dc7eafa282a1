"""Build our errors from what an engine found: the words are the same for every engine.

No message holds a bound value that is not an id.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from errno import EMFILE, ENFILE, ENOMEM
from importlib import import_module
from os import strerror
from types import TracebackType
from typing import NoReturn

from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
    StorageError,
)

_TABLE = r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|FROM)\s+(\w+)"  # compiled with the first fault


class loading:
    """The body imports what `what` takes. Raises StorageError where Python cannot read that.

    Other errors pass, so it may hold a whole call.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        fault = None
        if isinstance(error, ImportError):
            # Of a module that is written in C there is only the text of the dynamic linker.
            text = str(error)
            if text.endswith(f": {strerror(EMFILE)}"):
                fault = _unloaded(self._what, EMFILE)
            elif text.endswith((": failed to map segment from shared object", strerror(ENOMEM))):
                fault = _unloaded(self._what, ENOMEM)
        elif isinstance(error, OSError) and _is_of_import(traceback):
            fault = _unloaded(self._what, error.errno or 0)
        if fault is not None:
            raise fault from None


def _is_of_import(traceback: TracebackType | None) -> bool:
    """Whether Python's own import has raised it, and not what it was about to run."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback and traceback.tb_frame.f_code.co_filename
    return bool(code and code.startswith("<frozen importlib"))


def _unloaded(what: str, code: int) -> StorageError:
    if code in {EMFILE, ENFILE}:
        remedy = "close files, or let this process have more of them open (ulimit -n)"
    elif code == ENOMEM:
        remedy = "let this process have more (ulimit -v, the container's limit)"
    else:
        remedy = "see whether the disk that Python and cwstore are installed on can be read"
    return StorageError(f"`{what}` cannot be loaded: {strerror(code)}; {remedy}, then try again")


class on_use:
    """A module that is imported when something of it is asked for; to type checkers the module.

    What was asked for once is an attribute, and costs no more than one of a module. Raises as
    `loaded` does.
    """

    def __init__(self, name: str, what: str) -> None:
        self._name = name
        self._what = what

    def __getattr__(self, attribute: str) -> object:
        found = loaded(self._name, attribute, self._what)
        setattr(self, attribute, found)
        return found


def loaded(name: str, attribute: str, what: str) -> object:
    """What the module has by that name. Messages say that `what` is loaded.

    Raises StorageError where Python cannot read the module, and ConflictError where this thread is
    in the midst of loading it.
    """
    with loading(what):
        module = import_module(name)
    found: object = getattr(module, attribute, None)
    if found is None:
        raise ConflictError(
            f"this thread is in the midst of loading `{what}`, which a signal handler or a"
            " finalizer has interrupted; nothing was done: do it after that call",
            reason=ConflictReason.TRANSACTION,
        )
    return found


def table_of(text: str) -> str:
    """The table that a statement writes or, for a SELECT, reads first."""
    found = re.search(_TABLE, text)
    return found.group(1) if found else "database"


def refuse_to_leave(self: object) -> NoReturn:
    """Refuse to pickle and to copy what is open in this process alone. For `__reduce__`."""
    kind = type(self).__name__
    raise TypeError(
        f"cannot pickle or copy {kind!r} object: it belongs to this process; give the other one the"
        " path, and let it open a store of its own"
    )


def no_row(table: str, id: str) -> NotFoundError:
    """The row that the caller named is not there."""
    return NotFoundError(f"{table}: no row has the id {id!r}", table=table, id=id)


def no_place(table: str, field: str, id: str) -> NotFoundError:
    """The row that a page of a list begins after or ends before is not there."""
    return NotFoundError(
        f"{table}: no row has the id {id!r} that `{field}` names: it never did, or was deleted;"
        " begin again from an end of the list",
        table=table,
        id=id,
    )


def updated_since(table: str, id: str, seen: datetime) -> ConflictError:
    """The row was updated after the caller read it."""
    return ConflictError(
        f"{table}: row {id!r} was updated since {seen.isoformat()}; read it again and decide anew",
        reason=ConflictReason.STALE,
        table=table,
        id=id,
    )


def taken(columns: str) -> ConflictError:
    """Another row has the value that must be unique; `columns` as in "table.column"."""
    return ConflictError(
        f"{columns}: this value is taken by another row; choose another",
        reason=ConflictReason.TAKEN,
        table=columns.partition(".")[0],
    )


def missing_value(table: str, column: str) -> InvalidValueError:
    """The column must not be NULL."""
    return InvalidValueError(column, f"must not be None (table {table})")


def wrong_type(table: str, column: str) -> InvalidValueError:
    """The column is of another type."""
    return InvalidValueError(column, f"wrong type for table {table}")


def broken_rule(table: str, rule: str) -> InvalidValueError | CycleError:
    """A CHECK refused the row. Its name, "table_column_ck", tells the column."""
    column = rule.removeprefix(f"{table}_").removesuffix("_ck")
    if column == "itself":
        return cycle(table)
    return InvalidValueError(column, f"refused by the rule {rule} of table {table}")


def not_json(field: str, text: str) -> InvalidValueError:
    """The database refused a text because it is not JSON; says where, and never what it is."""
    with loading("json"):
        from json import JSONDecodeError, loads

    try:
        loads(text)
    except JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno} (character {error.pos})"
        return InvalidValueError(field, f"not JSON: it goes wrong at {place}")
    except (RecursionError, ValueError):
        pass
    # Python takes NaN and infinities, and it may give up at another depth.
    return InvalidValueError(field, "not JSON: nested too deep, or NaN or an infinity in it")


def cycle(where: str) -> CycleError:
    """The edge would close a cycle; `where` is the table or the trigger that refused it."""
    return CycleError(f"{where}: this would close a cycle; remove the opposite edge first")


def refused_by_trigger(table: str, message: str) -> InvalidValueError:
    """A trigger that is not one of the program's guards raised; `message` is what it says."""
    return InvalidValueError(
        "row", f"a trigger refused what was to be written to {table}: {message}"
    )


def of_item(error: InvalidValueError, index: int) -> InvalidValueError:
    """The same fault, of that item of a batch, from 0."""
    return InvalidValueError(error.field, str(error).removeprefix(f"{error.field}: "), index=index)


def read_only_refusal(name: str) -> StorageError:
    """The store was opened to read only."""
    return StorageError(
        f"{name} was opened with read_only=True, so nothing is written; open it without"
    )


def busy_thread(text: str, file: str, busy_timeout: float) -> BusyError:
    """The statement waited in vain for another thread."""
    return BusyError(
        f"{table_of(text)}: another thread of this process had a transaction open on {file} for all"
        f" of the {busy_timeout:g} s that this store may wait",
        waited=busy_timeout,
    )


def name_holder(error: BusyError, holder: str | None, since: datetime | None) -> None:
    """Let the error name who had the lock, and since when; its message too."""
    error.holder, error.since = holder, since
    if holder is not None:
        error.args = (f"{error} ({holder} had it{f', since {since}' if since else ''})",)


def refused_bind(binds: Mapping[str, object]) -> InvalidValueError:
    """Name the bind with a lone surrogate. The original error carries its text: do not chain it."""
    for field, value in binds.items():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return InvalidValueError(field, "contains a lone surrogate, which is not text")
    raise AssertionError("no bind holds a surrogate")


def missing_reference(
    table: str, binds: Mapping[str, object], keys: list[tuple[str, str]]
) -> MissingReferenceError:
    """Name what is missing, if the binds tell.

    `keys` are the columns of `table` that refer to others, each with the table it refers to.
    """
    given = [
        (column, parent, binds[column])
        for column, parent in keys
        if isinstance(binds.get(column), str)
    ]
    if len(given) == 1:
        ((column, parent, key),) = given
        return MissingReferenceError(
            f"{table}.{column}: no row of {parent} has the id {key!r}; create it first",
            field=column,
        )
    named = " or ".join(f"{column} {key!r} of {parent}" for column, parent, key in given)
    return MissingReferenceError(
        f"{table}: {named or 'a row it refers to'} does not exist; create it first"
    )


def still_referred_to(table: str, keys: list[tuple[str, str]]) -> MissingReferenceError:
    """Rows cannot be deleted because others refer to them, or to what would go with them.

    `keys` are the tables and columns that let no row go to which they refer.
    """
    named = " or ".join(f"{child}.{column}" for child, column in keys)
    return MissingReferenceError(
        f"{table}: {named or 'another table'} still refers to what would be deleted; delete or"
        " change those rows first"
    )
