"""Statistics of ANALYZE, which the tables of cwstore do without.

Each statement is proven with the plan that SQLite makes without statistics, and that plan stays
(https://www.sqlite.org/queryplanner-ng.html#qpsg). Statistics do not grow with their table: those
of a file with two tasks made a claim among 20,000 take 785 ms instead of 0.4, since SQLite reads
from end to end what it takes for small.
"""

import json
from typing import TYPE_CHECKING

from cwstore._sqlite.version import read_state
from cwstore.core.log import INFO, log
from cwstore.core.writer_lock import Transaction
from cwstore.migrations.ledger import unknown_names
from cwstore.migrations.scripts import load

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection
    from cwstore._sqlite.transaction import TransactionStack
    from cwstore._sqlite.writer import Writer
    from cwstore.migrations.scripts import Program


def remove_statistics(
    writer: "Writer", transactions: "TransactionStack", program: "Program", tables: set[str]
) -> None:
    """Remove those of the program's own tables; `tables` are all that have any.

    Extensions, and whoever added a table, keep theirs. If nobody else has any, all connections on
    the file read the schema anew; else the others go on with what they know.
    """
    with transactions.exclusive():
        ours = tables & _own_tables(writer.connection, program)
    if not ours:
        return
    with Transaction(transactions):
        _delete(writer, ours, all_of_them=ours == tables)
    with transactions.exclusive():
        # Whoever changes the schema does not read it anew by itself.
        writer.ask("PRAGMA writable_schema = RESET")
    log(
        INFO,
        "%s: statistics of ANALYZE removed, with which statements get slow as tables grow: %s",
        writer.file,
        ", ".join(sorted(ours)),
    )


def _own_tables(connection: "Connection", program: "Program") -> set[str]:
    """And indexes, views and triggers."""
    state = read_state(connection, program)
    added = unknown_names(state, load(program.directory))
    return {name for _, name in state.objects if name not in added} | {program.ledger}


def _delete(writer: "Writer", tables: set[str], *, all_of_them: bool) -> None:
    names = {"tables": json.dumps(sorted(tables))}
    for (kind,) in writer.ask("SELECT name FROM sqlite_schema WHERE name GLOB 'sqlite_stat[14]'"):
        if all_of_them:
            writer.ask(f"DROP TABLE {kind}")
        else:
            writer.ask(
                f"DELETE FROM {kind} WHERE tbl IN (SELECT value FROM json_each(:tables))", names
            )
