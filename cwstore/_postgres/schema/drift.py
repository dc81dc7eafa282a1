"""Find out whether a schema is still structured as its migrations left it."""

from typing import TYPE_CHECKING

import psycopg

from cwstore._postgres.schema.apply import run_statements
from cwstore._postgres.version import Object, part_of, read_catalogue, read_state
from cwstore.core.lexer import lowered
from cwstore.errors import MigrationError
from cwstore.migrations.ledger import Addition, Drift, is_intact, unknown_names
from cwstore.migrations.scripts import MigrationFile, Program, scripts_of

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection

_EXPECTED = "cwstore_expected"  # a schema that is never committed
_NO_SCHEMA = (  # can be made: on a standby, which says so in two ways, or by this user
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.InsufficientPrivilege,
)


def drift(
    connection: "Connection", files: list[MigrationFile], program: Program, name: str
) -> Drift:
    """How a schema differs from a new one made by these scripts, which is undone at once.

    Extensions do not count; or of an extension: how what is the extension's differs. In the
    transaction that is open, or in one of its own. Where no schema can be made, the ledger tells
    whether something was changed, but not what: then it raises MigrationError.
    """
    inside = connection.info.transaction_status != 0
    try:
        connection.execute("SAVEPOINT drift" if inside else "BEGIN READ WRITE")
        found = part_of(program, read_catalogue(connection))
        connection.execute(f"CREATE SCHEMA {_EXPECTED}")
        connection.execute(f"SET LOCAL search_path = {_EXPECTED}")
        host = scripts_of(Program(program.host, engine=program.engine)) if program.extension else []
        for file in (*host, *files):
            run_statements(connection, file.parse(), lambda _: None)
        return compare(part_of(program, read_catalogue(connection)), found)
    except _NO_SCHEMA:
        pass
    finally:
        connection.execute("ROLLBACK TO drift" if inside else "ROLLBACK")
    return _by_ledger(connection, files, program, name)


def _by_ledger(
    connection: "Connection", files: list[MigrationFile], program: Program, name: str
) -> Drift:
    """Nothing was changed, and this was added. Raises MigrationError if that is not so."""
    state = read_state(connection, program, name)
    if not is_intact(state, files):
        raise MigrationError(
            f"{name}: its structure was changed after version {state.version} was applied; run"
            " `cwstore check` as a user who may make a schema, on a server that can be written:"
            " that tells where"
        )
    unknown = unknown_names(state, files)
    found = part_of(program, read_catalogue(connection))
    return Drift([], _additions([one for one in found if one[1] in unknown]))


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
    return Drift(changed, _additions([one for one in found if f"{one[2]} {one[1]}" not in wanted]))


def _additions(objects: list[Object]) -> list[Addition]:
    return [
        Addition(kind, lowered(name), table)
        for _, name, kind, table in sorted(objects, key=lambda one: one[1:])
    ]


def _by_name(objects: list[Object]) -> dict[str, str]:
    return {f"{kind} {name}": text for text, name, kind, _ in objects}
