"""Find out whether a file is still structured as its migrations left it."""

from collections.abc import Iterable

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.schema.apply import run_statements
from cwstore._sqlite.schema.structure import (
    Structure,
    differences,
    part_of,
    read_structure,
    without_additions,
)
from cwstore._sqlite.version import extensions_in
from cwstore.migrations.ledger import Addition, Drift
from cwstore.migrations.scripts import LEDGER, OURS, MigrationFile, Program, load


def drift(connection: Connection, files: list[MigrationFile], program: Program = OURS) -> Drift:
    """How a database differs from a new one made by these scripts; extensions do not count.

    Of an extension: how what is the extension's differs.
    """
    if program.extension:
        own = (program.prefix,)
        expected = part_of(structure_of(_host_files(program, files)), own, True)
        found = part_of(read_structure(connection), own, True)
    else:
        others = tuple(f"{name}_" for name in extensions_in(connection))
        expected = structure_of(files)
        found = part_of(read_structure(connection), others, False)
    ours, added = without_additions(expected, found)
    return Drift(differences(expected, ours), added)


def find_added(
    objects: Iterable[Addition], files: list[MigrationFile], program: Program
) -> list[Addition]:
    """Those of the objects that these scripts do not make."""
    made = structure_of(_host_files(program, files)).parts
    return [
        one
        for one in objects
        if f"{one.kind} {one.name}" not in made and not one.name.endswith(LEDGER)
    ]


def _host_files(program: Program, files: list[MigrationFile]) -> list[MigrationFile]:
    return [*load(program.host), *files] if program.extension else files


def structure_of(files: list[MigrationFile]) -> Structure:
    fresh = open_connection(":memory:")
    try:
        for file in files:
            run_statements(fresh, file.parse(), lambda _: None)
        return read_structure(fresh)
    finally:
        fresh.close()
