"""What a schema says of its own past: its version, its ledger and its catalogue."""

from typing import TYPE_CHECKING

import psycopg

from cwstore._postgres.connection import quoted
from cwstore.errors import ForeignDatabaseError
from cwstore.migrations.ledger import Row, State, fingerprint, is_intact
from cwstore.migrations.scripts import LEDGER, Program, newest, scripts_of

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection

# Each text is what the server makes of its catalogue, so it does not depend on how a script wrote
# it. With the name of the schema cut out where the server writes it, two schemas can be compared:
# a schema may be called `new`, as the row of a trigger is, or `tasks`. What extensions of the
# server brought, and the engine's own, is left out.
_CATALOGUE = """
    WITH place AS (
        SELECT
            oid,
            quote_ident(nspname) || '.' AS prefix
        FROM pg_namespace
        WHERE nspname = current_schema()
    ),
    object AS (
        SELECT
            CASE class.relkind
                WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
                WHEN 'S' THEN 'sequence' ELSE 'table'
            END AS kind,
            class.relname AS name,
            class.relname AS "table",
            CASE WHEN class.relkind IN ('v', 'm') THEN pg_get_viewdef(class.oid) ELSE '' END
            || coalesce((
                SELECT string_agg(
                    attribute.attname || ' ' || format_type(attribute.atttypid, attribute.atttypmod)
                    || CASE WHEN attribute.attnotnull THEN ' NOT NULL' ELSE '' END
                    || CASE
                        WHEN attribute.attcollation = 0 THEN ''
                        ELSE ' ' || attribute.attcollation::regcollation
                    END
                    || coalesce(' DEFAULT ' || pg_get_expr(part.adbin, part.adrelid), ''),
                    ', ' ORDER BY attribute.attnum
                )
                FROM pg_attribute AS attribute
                LEFT JOIN pg_attrdef AS part
                  ON part.adrelid = attribute.attrelid AND part.adnum = attribute.attnum
                WHERE class.relkind = 'r'
                  AND attribute.attrelid = class.oid
                  AND attribute.attnum > 0
                  AND NOT attribute.attisdropped
            ), '')
            || coalesce((
                SELECT string_agg(
                    ', ' || held.conname || ' ' || pg_get_constraintdef(held.oid), ''
                    ORDER BY held.conname
                )
                FROM pg_constraint AS held
                WHERE held.conrelid = class.oid
                  AND held.contype IN ('c', 'f', 'p', 'u', 'x')
            ), '') AS text
        FROM place
        JOIN pg_class AS class ON class.relnamespace = place.oid
        WHERE class.relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT 'index', class.relname, owner.relname, pg_get_indexdef(class.oid)
        FROM place
        JOIN pg_class AS class ON class.relnamespace = place.oid AND class.relkind = 'i'
        JOIN pg_index AS index ON index.indexrelid = class.oid
        JOIN pg_class AS owner ON owner.oid = index.indrelid
        WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = class.oid)
        UNION ALL
        SELECT 'trigger', trigger.tgname, owner.relname, pg_get_triggerdef(trigger.oid)
            || CASE trigger.tgenabled WHEN 'O' THEN '' ELSE ' disabled' END
        FROM place
        JOIN pg_class AS owner ON owner.relnamespace = place.oid
        JOIN pg_trigger AS trigger ON trigger.tgrelid = owner.oid AND NOT trigger.tgisinternal
        UNION ALL
        SELECT 'function', routine.proname, routine.proname,
            pg_get_function_arguments(routine.oid) || ' ' || pg_get_function_result(routine.oid)
            || ' ' || routine.prosrc || coalesce(pg_get_function_sqlbody(routine.oid), '')
        FROM place
        JOIN pg_proc AS routine ON routine.pronamespace = place.oid AND routine.prokind = 'f'
        WHERE NOT EXISTS (
            SELECT 1
            FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = routine.oid AND deptype = 'e'
        )
    )
    SELECT
        replace(
            replace(object.text, ' ON ' || place.prefix, ' ON '),
            ' FUNCTION ' || place.prefix, ' FUNCTION '
        ),
        object.name, object.kind, object."table"
    FROM object
    CROSS JOIN place
    WHERE object.name <> $1::text
      AND object.name <> $2::text
      AND NOT (object.kind IN ('function', 'trigger') AND starts_with(object.name, $3::text))
      AND object."table" <> $1::text
"""
_LEDGER_IS_THERE = """
    SELECT 1
    FROM pg_class
    WHERE relname = $1::text
      AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
"""

_LEDGERS = f"_{LEDGER}"  # of extensions

#: SQL, name, kind and table of an object.
Object = tuple[str, str, str, str]


def current_schema(connection: "Connection") -> str:
    """The schema that the tables lie in."""
    ((schema,),) = connection.execute("SELECT current_schema()").fetchall()
    return str(schema)


def read_catalogue(connection: "Connection", ledger: str = LEDGER) -> list[Object]:
    """Of each table, index, trigger, view, function and sequence of the schema.

    Without this ledger; those of extensions are among them.
    """
    from cwstore._postgres.lane import STAMPS
    from cwstore._postgres.telling import TELL

    rows = connection.execute(_CATALOGUE, [ledger, STAMPS, TELL]).fetchall()
    return [(str(text), str(name), str(kind), str(table)) for text, name, kind, table in rows]


def read_state(connection: "Connection", program: Program, name: str) -> State:
    """The state in the transaction that is open, or in a look of its own. Writes nothing.

    Raises ForeignDatabaseError for the tables of another program.
    """
    objects = sorted(one[:2] for one in part_of(program, read_catalogue(connection)))
    rows: list[Row] | None = None
    if connection.execute(_LEDGER_IS_THERE, [program.ledger]).fetchall():
        found = connection.execute(
            (
                "SELECT version, name, checksum, text_sum, compatible_with, structure,"
                f" application_id FROM {program.ledger} ORDER BY version"
            ).encode()
        ).fetchall()
        rows = [Row._make(one[:-1]) for one in found]
        if any(one[-1] != program.application_id for one in found):
            raise ForeignDatabaseError(
                f"{name}: its tables are another program's; it was left alone: give another"
                " database, or another schema by ?schema="
            )
    return State(
        version=rows[-1].version if rows else 0,
        rows=rows,
        objects=objects,
        structure=fingerprint([text for text, _ in objects]),
        program=program,
    )


def part_of(program: Program, objects: list[Object]) -> list[Object]:
    """What is the program's, and not of an extension; or what is that extension's."""
    ledgers = {name for _, name, kind, _ in objects if kind == "table" and name.endswith(_LEDGERS)}
    if program.extension:
        return [one for one in objects if _begins(one, (program.prefix,)) and one[1] not in ledgers]
    prefixes = tuple(name.removesuffix(LEDGER) for name in ledgers)
    return [one for one in objects if not _begins(one, prefixes)]


def _begins(one: Object, prefixes: tuple[str, ...]) -> bool:
    return one[3].startswith(prefixes)


def extensions_in(connection: "Connection") -> dict[str, int]:
    """The extensions that a schema has, by name, and the version of each."""
    ledgers = sorted(
        name
        for _, name, kind, _ in read_catalogue(connection)
        if kind == "table" and name.endswith(_LEDGERS)
    )
    found: dict[str, int] = {}
    for ledger in ledgers:
        ((found[ledger.removesuffix(_LEDGERS)],),) = connection.execute(
            f"SELECT count(*) FROM {quoted(ledger)}".encode()
        ).fetchall()
    return found


def version_if_current(connection: "Connection", program: Program, name: str) -> int | None:
    """The version of a schema that is up to date and needs no closer look; else None."""
    try:
        state = read_state(connection, program, name)
    except psycopg.Error:
        return None
    files = scripts_of(program)
    rows = state.rows or []
    settled = (
        state.version == newest(files)
        and [(row.name, row.text_sum) for row in rows] == [(f.name, f.text_sum) for f in files]
        and is_intact(state, files)
        and all(version_if_current(connection, one, name) for one in program.extensions)
    )
    return state.version if settled else None
