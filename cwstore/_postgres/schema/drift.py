"""Find out whether a schema is still structured as its migrations left it."""

from typing import TYPE_CHECKING

from cwstore._postgres.schema.apply import run_statements
from cwstore._postgres.version import Object, part_of, read_catalogue
from cwstore.core.lexer import lowered
from cwstore.migrations.ledger import Addition, Drift
from cwstore.migrations.scripts import MigrationFile, Program, scripts_of

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection

_EXPECTED = "cwstore_expected"  # a schema that is never committed


def drift(connection: "Connection", files: list[MigrationFile], program: Program) -> Drift:
    """How a schema differs from a new one made by these scripts, which is undone at once.

    Extensions do not count; or of an extension: how what is the extension's differs.

    In the transaction that is open, or in one of its own. This user must be allowed to make a
    schema.
    """
    inside = connection.info.transaction_status != 0
    connection.execute("SAVEPOINT drift" if inside else "BEGIN")
    try:
        found = part_of(program, read_catalogue(connection))
        connection.execute(f"CREATE SCHEMA {_EXPECTED}")
        connection.execute(f"SET LOCAL search_path = {_EXPECTED}")
        host = scripts_of(Program(program.host, engine=program.engine)) if program.extension else []
        for file in (*host, *files):
            run_statements(connection, file.parse(), lambda _: None)
        expected = part_of(program, read_catalogue(connection))
    finally:
        connection.execute("ROLLBACK TO drift" if inside else "ROLLBACK")
    return compare(expected, found)


def compare(expected: list[Object], found: list[Object]) -> Drift:
    """How what was found differs from what the scripts make."""
    there = _by_name(found)
    wanted = _by_name(expected)
    changed = [f"{what} is missing" for what in sorted(wanted.keys() - there.keys())]
    changed += [
        f"{what} is another one than the migrations make"
        for what in sorted(wanted.keys() & there.keys())
        if wanted[what] != there[what]
    ]
    added = [
        Addition(kind, lowered(name), table)
        for _, name, kind, table in sorted(found, key=lambda one: one[1:])
        if f"{kind} {name}" not in wanted
    ]
    return Drift(changed, added)


def _by_name(objects: list[Object]) -> dict[str, str]:
    return {f"{kind} {name}": text for text, name, kind, _ in objects}
