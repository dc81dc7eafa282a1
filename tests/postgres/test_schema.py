"""Both schemas say the same: tables, columns, rules, indexes and triggers."""

import re
from typing import Any

import apsw
import psycopg
import pytest

from cwstore.migrations.scripts import load
from cwstore.store import Store

Connection = psycopg.Connection[tuple[Any, ...]]
#: What stands for something that the other engine does in another way: see the script.
ONLY_SQLITE = {"stamps", "newest_stamp", "task_attempts_lose_agent_tg",
               "task_edges_in_doubt", "phase_edges_in_doubt",
               "task_edges_in_doubt_no_cycle_tg", "phase_edges_in_doubt_no_cycle_tg",
               "sqlite_sequence"}  # fmt: skip
ONLY_POSTGRESQL = {"cycle_guard", "schema_migrations", "agent_log_chunks_number_tg",
                   "tasks_readiness_insert_tg"}  # fmt: skip


@pytest.fixture(scope="module")
def sqlite() -> apsw.Connection:
    """The newest schema there."""
    connection = apsw.Connection(":memory:")
    for script in load():
        connection.execute(script.text).fetchall()
    return connection


def test_columns_are_the_same(store: Store, superuser: Connection, sqlite: apsw.Connection) -> None:
    """Names, order, types, NULL, defaults."""
    there = superuser.execute("""
        SELECT class.relname, attribute.attname,
            CASE format_type(attribute.atttypid, -1) WHEN 'bigint' THEN 'INTEGER'
                WHEN 'text' THEN 'TEXT' ELSE 'another' END,
            attribute.attnotnull::int,
            split_part(pg_get_expr(part.adbin, part.adrelid), '::', 1),
            attribute.attcollation = CASE WHEN attribute.atttypid = 'text'::regtype
                THEN '"C"'::regcollation ELSE 0 END
        FROM pg_attribute AS attribute
        JOIN pg_class AS class ON class.oid = attribute.attrelid
        LEFT JOIN pg_attrdef AS part
          ON part.adrelid = class.oid AND part.adnum = attribute.attnum
        WHERE class.relkind = 'r' AND attribute.attnum > 0
          AND class.relnamespace = 'public'::regnamespace
        ORDER BY class.relname COLLATE "C", attribute.attnum
    """).fetchall()
    here = sqlite.execute("""
        SELECT owner.name, part.name, part.type,
            part."notnull" OR part.pk > 0, part.dflt_value, 1
        FROM sqlite_schema AS owner, pragma_table_info(owner.name) AS part
        WHERE owner.type = 'table'
        ORDER BY owner.name, part.cid
    """).fetchall()
    assert [row for row in there if row[0] not in ONLY_POSTGRESQL] == [
        (*row[:5], True) for row in here if row[0] not in ONLY_SQLITE
    ]


def test_rules_are_the_same(store: Store, superuser: Connection, sqlite: apsw.Connection) -> None:
    """Every CHECK by name, every foreign key with what a delete does, every unique column."""
    there = {
        str(name)
        for (name,) in superuser.execute(
            "SELECT conname FROM pg_constraint"
            " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        )
    }
    texts = [str(sql) for (sql,) in sqlite.execute("SELECT sql FROM sqlite_schema WHERE sql > ''")]
    here = {name for text in texts for name in re.findall(r"CONSTRAINT (\w+_ck)", text)}
    assert there - {"cycle_guard_id_ck"} == here - {"stamps_id_ck"}
    keys = superuser.execute("""
        SELECT child.relname, attribute.attname, parent.relname,
            CASE key.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' END
        FROM pg_constraint AS key
        JOIN pg_class AS child ON child.oid = key.conrelid
        JOIN pg_class AS parent ON parent.oid = key.confrelid
        JOIN pg_attribute AS attribute
          ON attribute.attrelid = child.oid AND attribute.attnum = key.conkey[1]
        WHERE key.contype = 'f'
    """).fetchall()
    assert set(keys) == set(
        sqlite.execute("""
            SELECT owner.name, key."from", key."table", key.on_delete
            FROM sqlite_schema AS owner, pragma_foreign_key_list(owner.name) AS key
        """)
    )


def test_indexes_triggers_and_views_have_the_same_names(
    store: Store, superuser: Connection, sqlite: apsw.Connection
) -> None:
    there = {
        str(name)
        for (name,) in superuser.execute("""
            SELECT relname FROM pg_class
            WHERE relkind IN ('i', 'r', 'v') AND relnamespace = 'public'::regnamespace
              AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = pg_class.oid)
            UNION ALL
            SELECT tgname FROM pg_trigger
            WHERE NOT tgisinternal AND NOT tgname ^@ 'cwstore_tell_'
        """)
    }
    here = {
        str(name) for (name,) in sqlite.execute("SELECT name FROM sqlite_schema WHERE sql > ''")
    }
    assert there - ONLY_POSTGRESQL == here - ONLY_SQLITE
