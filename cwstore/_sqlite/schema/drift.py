"""Find out whether a file is still structured as its migrations left it."""

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.schema.apply import run_statements
from cwstore._sqlite.schema.structure import differences, read_structure
from cwstore.migrations.scripts import MigrationFile


def drift(connection: Connection, files: list[MigrationFile]) -> list[str]:
    """How a database differs from a new one made by these scripts: a line for each difference."""
    fresh = open_connection(":memory:")
    try:
        for file in files:
            run_statements(fresh, file.parse(), lambda _: None)
        return differences(read_structure(fresh), read_structure(connection))
    finally:
        fresh.close()
