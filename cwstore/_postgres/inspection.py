"""Look at a schema without a store: also at one that was changed by hand, or is older."""

from cwstore._postgres import reports
from cwstore._postgres.address import parse
from cwstore._postgres.schema.target import open_to_look
from cwstore.core.reports import CheckReport
from cwstore.errors import StorageError
from cwstore.migrations.ledger import check_history, validate
from cwstore.migrations.scripts import Program, newest, scripts_of

_BUSY_TIMEOUT = 5.0  # seconds


def check_file(path: str, program: Program) -> CheckReport:
    """See `_sqlite.inspection.check_file`. Raises StorageError where there are no tables yet."""
    address = parse(path)
    target = open_to_look(path, program)
    try:
        state, files = target.read_state(), scripts_of(program)
        validate(state, files, address.name)
        if state.version > newest(files):
            check_history(state, files, address.name, target.drift)
    finally:
        target.close()
    if not state.version:
        raise StorageError(
            f"{address.name} has no tables of {program.name} yet; run `cwstore migrate` on it first"
        )
    return reports.check(address, _BUSY_TIMEOUT, program)
