"""Run one migration script inside the open transaction, and refuse what it should not have done."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from cwstore._postgres.connection import quoted
from cwstore._postgres.version import read_catalogue
from cwstore.core.lexer import spoken
from cwstore.errors import MigrationError
from cwstore.migrations.headers import Script
from cwstore.migrations.scripts import LEDGER, Program

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection

_TRANSACTION = "it may not begin, end or nest a transaction: the runner does, once around it"
_DENIED_FIRST = {
    **dict.fromkeys(
        ("ABORT", "BEGIN", "COMMIT", "END", "PREPARE", "RELEASE", "ROLLBACK", "SAVEPOINT", "START"),
        _TRANSACTION,
    ),
    **dict.fromkeys(("RESET", "SET"), "it may not change settings: the runner does"),
    **dict.fromkeys(
        ("ALTER SYSTEM", "CLUSTER", "REINDEX", "VACUUM"), "that cannot be part of a transaction"
    ),
    **dict.fromkeys(("CALL", "COPY", "DO"), "the checks before and after cannot see through it"),
}
# Wherever they stand in a statement.
_DENIED_WORDS = {
    "CONCURRENTLY": "nothing can be done CONCURRENTLY in a transaction: leave the word out",
    "SET_CONFIG": _DENIED_FIRST["SET"],
    "SETVAL": "setval is not undone with a transaction: write ALTER SEQUENCE … RESTART WITH",
}
_NOTHING = ". Nothing of it was kept"
_ADVICE = ": mend the script and migrate again"
_COUNT = "SELECT count(*) FROM {}"
# Of the open transaction, and of the tables of the schema alone.
_WRITTEN = """
    SELECT relname, n_tup_ins + n_tup_upd + n_tup_del
    FROM pg_stat_xact_user_tables
    WHERE schemaname = current_schema()
"""


class _Inventory(NamedTuple):
    """What a script may not lose without saying so."""

    objects: dict[tuple[str, str], str]  #: by kind and name: the table
    rows: dict[str, int]  #: by table
    texts: dict[tuple[str, str], str]  #: by kind and name
    written: dict[str, int]  #: by table: rows, so far in the transaction


def apply_script(
    connection: "Connection", script: Script, notify: Callable[[int], None], program: Program
) -> int:
    """Run the statements and compare before and after; the number of rows changed.

    The caller owns the transaction and rolls it back if this raises MigrationError, with statement,
    line and cause; or the error of a failing server.
    """
    before = _take_inventory(connection)
    notify(0)
    changed = run_statements(connection, script, notify)
    after = _take_inventory(connection)
    harm = _touched(before, after, program) or _losses(before, after, script)
    if harm:
        raise _refusal(script.file_name, "; ".join(harm[:3]), script.version)
    return changed


def _touched(before: _Inventory, after: _Inventory, program: Program) -> list[str]:
    """What the script changed that is not its program's to change: ledgers, and of others."""
    written = [name for name, rows in after.written.items() if rows > before.written.get(name, 0)]
    ledgers = [name for name in written if name.endswith(LEDGER)]
    gone = [name for _, name in before.objects.keys() - after.objects.keys()]
    ledgers += [name for name in gone if name.endswith(LEDGER)]
    if ledgers:
        return [f"it may not touch {LEDGER}: the runner keeps it"]
    prefix = program.prefix
    changed = before.texts.items() ^ after.texts.items()
    theirs = {
        name
        for (kind, name), _ in changed
        for table in (before.objects.get((kind, name)), after.objects.get((kind, name)))
        if table is not None and not (name.startswith(prefix) and table.startswith(prefix))
    }
    theirs |= {name for name in written if not name.startswith(prefix)}
    return [
        f"an extension makes and changes only what is named {prefix}…, not {name}"
        for name in sorted(theirs if prefix else ())
    ]


def run_statements(connection: "Connection", script: Script, notify: Callable[[int], None]) -> int:
    """Run the statements one by one; the number of rows changed. Raises as `apply_script` does."""
    changed = 0
    for number, statement in enumerate(script.statements, 1):
        where = f"{script.file_name}, statement {number}, line {statement.line}"
        if reason := _denied(statement.first_word, statement.text):
            raise _refusal(where, reason, script.version)
        try:
            cursor = connection.execute(statement.text.encode(), prepare=False)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in ("22", "23", "2B", "42", "CW", "P0", "0A"):
                raise
            cause = str(error.diag.message_primary)
        else:
            if statement.first_word in ("DELETE", "INSERT", "MERGE", "UPDATE", "WITH"):
                changed += max(0, cursor.rowcount)
            notify(number)
            continue
        raise _refusal(where, cause, script.version)
    return changed


def _denied(first_word: str, text: str) -> str | None:
    """Why a statement may not be in a script; None: it may."""
    if reason := _DENIED_FIRST.get(first_word):
        return reason
    words = [token.text.upper() for token in spoken(text) if token.kind == "word"]
    for word in words:
        if reason := _DENIED_WORDS.get(word):
            return reason
    return _DENIED_FIRST.get(" ".join(words[:2]))


def _take_inventory(connection: "Connection") -> _Inventory:
    found = read_catalogue(connection, ledger="")
    objects = {(kind, name): table for _, name, kind, table in found}
    texts = {(kind, name): text for text, name, kind, _ in found}
    rows: dict[str, int] = {}
    for kind, name in objects:
        if kind == "table":
            ((rows[name],),) = connection.execute(_COUNT.format(quoted(name)).encode()).fetchall()
    written = {str(name): int(count) for name, count in connection.execute(_WRITTEN).fetchall()}
    return _Inventory(objects, rows, texts, written)


def _losses(before: _Inventory, after: _Inventory, script: Script) -> list[str]:
    """What is gone although the script does not declare it, with the line that would declare it."""
    gone: list[str] = []
    for (kind, name), table in before.objects.items():
        declared = (kind, name) in script.drops or (
            ("table", table) in script.drops and ("table", table) not in after.objects
        )
        # Functions and sequences are means to an end: what uses them is counted.
        if kind in ("function", "sequence") or declared or (kind, name) in after.objects:
            continue
        gone.append(f"{kind} {name} is gone; if that is meant, add `-- drops: {kind} {name}`")
    for table, count in before.rows.items():
        left = after.rows.get(table, count)
        if left < count and table not in script.deletes:
            gone.append(
                f"{count - left} of {count} rows of {table} are gone; if that is meant, add"
                f" `-- deletes: {table}`"
            )
    return gone


def _refusal(where: str, cause: str, version: int) -> MigrationError:
    return MigrationError(
        f"{where}: {cause}{_NOTHING}, the database is at version {version - 1}{_ADVICE}"
    )
