"""Run one migration script inside the open transaction, and refuse what it should not have done."""

import re
from collections import Counter
from collections.abc import Callable

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.schema.forbidden import authorizer, denied_word
from cwstore._sqlite.schema.foreign_keys import (
    Violation,
    find_misfits,
    find_violations,
    new_violations,
)
from cwstore._sqlite.schema.inventory import Inventory, take_inventory, undeclared_losses
from cwstore._sqlite.version import read_catalogue
from cwstore.core.lexer import lowered
from cwstore.errors import CwstoreError, MigrationError
from cwstore.migrations.headers import Script
from cwstore.migrations.ledger import Addition

# Codes that are not the script's fault: the disk, the memory, another process.
_OUTSIDE = frozenset(
    {
        apsw.SQLITE_BUSY,
        apsw.SQLITE_CANTOPEN,
        apsw.SQLITE_CORRUPT,
        apsw.SQLITE_FULL,
        apsw.SQLITE_IOERR,
        apsw.SQLITE_NOMEM,
        apsw.SQLITE_NOTADB,
        apsw.SQLITE_READONLY,
    }
)
_NOTHING = ". Nothing of it was kept"
_ADVICE = ": mend the script and migrate again"
_SHOWN = 3  # findings in a message; the rest are counted


def apply_script(
    connection: Connection,
    script: Script,
    notify: Callable[[int], None],
    find_added: Callable[[list[Addition]], list[Addition]],
    prefix: str = "",
) -> int:
    """Run the statements and compare before and after; the number of rows changed.

    `notify` gets the number of statements done. `find_added` tells which objects no script made.
    With a `prefix` the script is an extension's.
    The caller owns the transaction and rolls it back if this raises: MigrationError with statement,
    line and cause, and with what somebody added if that is in the way; or the error of a failing
    disk.
    """
    before, misfits = take_inventory(connection), find_misfits(connection)
    dirt = find_violations(connection, misfits)
    changes = connection.total_changes()
    notify(0)
    try:
        run_statements(connection, script, notify, prefix)
        changes = connection.total_changes() - changes
        try:
            cause = _harm(connection, script, before, misfits, dirt, prefix=prefix)
        except apsw.SQLError as error:
            cause = str(error)
        if cause:
            raise _refusal(script.file_name, cause, script.version)
    except MigrationError as error:
        refusal = error
    else:
        return changes
    there = [Addition(kind, name, table) for (kind, name), table in before.objects.items()]
    obstacles = _obstacles(connection, find_added(there), str(refusal))
    raise _in_the_way(refusal, obstacles) if obstacles else refusal


def _obstacles(connection: Connection, added: list[Addition], refusal: str) -> list[Addition]:
    """What was added and is named in the cause; or else what may have refused a row."""
    cause = lowered(refusal.partition(": ")[2].rpartition(_NOTHING)[0])
    words = {*re.findall(r"\w+", cause)}
    named = [one for one in added if one.name in words or f"{one.kind} {one.name} is gone" in cause]
    if named:
        return named
    if "constraint failed" in cause:
        return [one for one in added if one.kind in ("index", "trigger") and one.table in words]
    # Somebody's trigger may have said no in words of its own.
    said = {lowered(name) for sql, name, *_ in read_catalogue(connection) if cause in lowered(sql)}
    return [one for one in added if one.kind == "trigger" and one.name in said]


def _in_the_way(refusal: MigrationError, obstacles: list[Addition]) -> MigrationError:
    """The refusal, for somebody who has the file and not the script."""
    names = ", ".join(map(str, obstacles))
    what, _, _ = str(refusal).rpartition(_ADVICE)
    return MigrationError(
        f"{what}: in the way is what somebody added, {names}; drop it, migrate, and make it again"
    )


def _harm(
    connection: Connection,
    script: Script,
    before: Inventory,
    misfits: frozenset[str],
    dirt: Counter[Violation],
    *,
    prefix: str,
) -> str | None:
    """What the script left that it must not leave, or lost without declaring it; None: nothing."""
    leftovers = connection.execute("SELECT name FROM sqlite_temp_schema").fetchall()
    if leftovers:
        return f"it leaves the temporary {leftovers[0][0]}: drop it"
    after = take_inventory(connection)
    for kind, name in after.objects.keys() - before.objects.keys():
        if not name.startswith(prefix):  # by ALTER TABLE ... RENAME, which tells no authorizer
            return f"it makes the {kind} {name}, which must be named {prefix}…"
    gone = undeclared_losses(before, after, script)
    if gone:
        return _listed(gone)
    broken = new_violations(dirt, find_violations(connection, misfits), before.keys, after.keys)
    if broken:
        lines = [f"{violation} ({rows} rows)" for violation, rows in broken.most_common()]
        return f"it leaves foreign keys that lead nowhere: {_listed(lines)}"
    return None


def run_statements(
    connection: Connection, script: Script, notify: Callable[[int], None], prefix: str = ""
) -> None:
    """Run the statements one by one, under the authorizer. Raises as `apply_script` does."""
    reasons: list[str] = []
    connection.set_authorizer(authorizer(reasons, prefix))
    try:
        for number, statement in enumerate(script.statements, 1):
            reason = denied_word(statement.first_word)
            if reason:
                raise _refusal(_where(script, number, statement.line), reason, script.version)
            fault = None
            try:
                connection.execute(statement.text).fetchall()
            except apsw.Error as error:
                fault = _failure(connection, error, script, number, reasons)
            if fault is not None:
                raise fault
            notify(number)
    finally:
        connection.set_authorizer(None)


def _failure(
    connection: Connection,
    error: apsw.Error,
    script: Script,
    number: int,
    reasons: list[str],
) -> CwstoreError:
    statement = script.statements[number - 1]
    offset = getattr(error, "error_offset", -1)  # bytes
    passed = statement.text.encode()[: max(offset, 0)]
    where = _where(script, number, statement.line + passed.count(b"\n"))
    if reasons:
        return _refusal(where, reasons[0], script.version)
    if getattr(error, "extendedresult", -1) & 0xFF in _OUTSIDE:
        return map_error(error, where, 0.0, connection.filename)
    cause = str(error)
    if not connection.in_transaction:
        cause += " (and it ends the whole transaction: OR ROLLBACK or RAISE(ROLLBACK))"
    return _refusal(where, cause, script.version)


def _where(script: Script, number: int, line: int) -> str:
    return f"{script.file_name}, statement {number}, line {line}"


def _refusal(where: str, cause: str, version: int) -> MigrationError:
    return MigrationError(
        f"{where}: {cause}{_NOTHING}, the file is at version {version - 1}{_ADVICE}"
    )


def _listed(findings: list[str]) -> str:
    rest = len(findings) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(findings[:_SHOWN]) + more
