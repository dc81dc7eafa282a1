"""Triggers that tell who listens what each statement changes, of whatever program it is.

They are the engine's own, and no part of a migration: every table of the schema has them, those of
services too. Nothing is sent while nobody listens; what is sent arrives with the commit, and not at
all if its savepoint or transaction is undone.
"""

from typing import TYPE_CHECKING

from cwstore._postgres.connection import quoted
from cwstore.migrations.scripts import LEDGER

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection

#: The name of the function; what the names of the triggers begin with.
TELL = "cwstore_tell"

#: Whoever listens holds this lock, shared, as long as his session lives. By schema.
LISTENERS = "hashtextextended('cwstore listeners ' || {}::text, 0)"

# Kept by triggers for their own ends: what makes them change is told.
_UNTOLD = ["readiness", "cycle_guard"]
_MOST = 10_000  # rows of one statement that are told one by one
# A message has room for 7,999 bytes. PostgreSQL drops one that is equal to another of the same
# transaction, so they are numbered.
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {TELL}() RETURNS trigger LANGUAGE plpgsql AS $tell$
DECLARE
    place constant bigint := {LISTENERS.format("TG_TABLE_SCHEMA")};
    counted bigint;
    number bigint;
    key text;
    ids json;
    message text;
BEGIN
    IF pg_try_advisory_lock(place) THEN
        PERFORM pg_advisory_unlock(place);
        RETURN NULL;
    END IF;
    number := coalesce(nullif(current_setting('cwstore.told', true), ''), '0')::bigint;
    IF TG_OP <> 'TRUNCATE' THEN
        SELECT count(*) INTO counted FROM changed;
        IF counted = 0 THEN
            RETURN NULL;
        END IF;
    END IF;
    IF counted <= {_MOST} AND TG_NARGS > 0 THEN
        SELECT string_agg(quote_ident(name), ', ') INTO key FROM unnest(TG_ARGV) AS name;
        IF TG_NARGS > 1 THEN
            key := 'json_build_array(' || key || ')';
        END IF;
        FOR ids IN EXECUTE format(
            'SELECT json_agg(id ORDER BY place) FROM ('
            '   SELECT %s AS id, row_number() OVER () - 1 AS place FROM changed'
            ') AS one GROUP BY place / 100 ORDER BY place / 100', key
        ) LOOP
            number := number + 1;
            message := json_build_array(number, TG_OP, TG_TABLE_NAME, ids)::text;
            IF octet_length(message) > 7999 THEN
                message := json_build_array(number, 'ELSEWHERE')::text;
            END IF;
            PERFORM pg_notify('cwstore ' || place, message);
        END LOOP;
    ELSE
        number := number + 1;
        message := CASE WHEN counted > {_MOST} THEN 'OVERFLOW' ELSE 'ELSEWHERE' END;
        PERFORM pg_notify('cwstore ' || place, json_build_array(number, message)::text);
    END IF;
    PERFORM set_config('cwstore.told', number::text, true);
    RETURN NULL;
END
$tell$
"""
_EVENTS = (
    ("INSERT", "REFERENCING NEW TABLE AS changed"),
    ("UPDATE", "REFERENCING OLD TABLE AS changed"),
    ("DELETE", "REFERENCING OLD TABLE AS changed"),
    ("TRUNCATE", ""),
)
_SILENT_TABLES = f"""
    SELECT class.relname, (
        SELECT string_agg(quote_literal(attribute.attname), ', ' ORDER BY attribute.attnum)
        FROM pg_attribute AS attribute
        LEFT JOIN pg_index AS key ON key.indrelid = class.oid AND key.indisprimary
        WHERE attribute.attrelid = class.oid
          AND attribute.attnum > 0
          AND NOT attribute.attisdropped
          AND CASE
            WHEN EXISTS (
                SELECT 1
                FROM pg_attribute AS own
                WHERE own.attrelid = class.oid AND own.attname = 'id' AND NOT own.attisdropped
            ) THEN attribute.attname = 'id'
            ELSE attribute.attnum = ANY (key.indkey)
          END
    )
    FROM pg_class AS class
    WHERE class.relkind = 'r'
      AND class.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
      AND NOT class.relname = ANY ($1::text[])
      AND right(class.relname, {len(LEDGER)}) <> '{LEDGER}'
      AND NOT EXISTS (
        SELECT 1
        FROM pg_trigger
        WHERE tgrelid = class.oid AND tgname = '{TELL}_insert'
      )
    ORDER BY class.relname
"""


def _silent_tables(connection: "Connection") -> list[tuple[str, str | None]]:
    """The tables that tell nothing yet, each with its key, as arguments of a trigger."""
    rows = connection.execute(_SILENT_TABLES.encode(), [_UNTOLD]).fetchall()
    return [(str(name), key) for name, key in rows]


def let_tables_tell(connection: "Connection") -> bool:
    """Give every table that has none its triggers, in the open transaction; whether any had not."""
    silent = _silent_tables(connection)
    if not silent:
        return False
    connection.execute(_FUNCTION.encode())
    for table, key in silent:
        for event, rows in _EVENTS:
            connection.execute(
                f"CREATE TRIGGER {TELL}_{event.lower()} AFTER {event} ON {quoted(table)} {rows}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {TELL}({key or ''})".encode()
            )
    return True
