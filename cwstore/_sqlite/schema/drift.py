"""Find out whether a file is still structured as its migrations left it."""

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.schema.apply import run_statements
from cwstore._sqlite.schema.structure import differences, read_structure
from cwstore.errors import MigrationError
from cwstore.migrations.ledger import State
from cwstore.migrations.scripts import MigrationFile

_SHOWN = 5  # differences in a message
# Fingerprints of structures that turned out to differ in the layout of their SQL only.
_equal: set[tuple[int, tuple[int, ...]]] = set()


def refuse_drift(
    connection: Connection, state: State, files: list[MigrationFile], file: str
) -> None:
    """Raise MigrationError with the differences, if any, to a database made afresh.

    For a file whose `sqlite_schema` is not, to the letter, what its ledger noted.
    """
    if state.version > len(files):
        raise MigrationError(
            f"{file}: its structure was changed by hand after version {state.version} was applied;"
            " open it with the cwstore that wrote it to see where, or restore a backup"
        )
    applied = files[: state.version]
    key = (state.structure, tuple(script.text_sum for script in applied))
    if key in _equal:
        return
    found = drift(connection, applied)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise MigrationError(
            f"{file} is not structured as version {state.version}: {'; '.join(found[:_SHOWN])}"
            f"{more}; undo what was changed by hand, or restore a backup"
        )
    _equal.add(key)


def drift(connection: Connection, files: list[MigrationFile]) -> list[str]:
    """How a database differs from a new one made by these scripts: a line for each difference."""
    fresh = open_connection(":memory:")
    try:
        for script in files:
            run_statements(fresh, script, lambda _: None)
        return differences(read_structure(fresh), read_structure(connection))
    finally:
        fresh.close()
