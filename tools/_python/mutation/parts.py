"""What is changed together, and the tests that are asked: modules of cwstore, files of tests."""

from typing import NamedTuple


class Part(NamedTuple):
    """Names as in `core/mapping`: cwstore/core/mapping.py, tests/core/test_mapping.py.

    The first file of tests is about all of the modules.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names.split())


def file_of(name: str) -> str:
    """The file of tests, below tests/."""
    folder, slash, stem = name.rpartition("/")
    return f"{folder}{slash}test_{stem}.py"


PARTS = {
    "statements": Part(
        ("core/statement", "core/checks"),
        (
            *_in("core", "mapping own_types"),
            *_in("engine", "batches errors paging"),
            *_in("entities", "initiatives accounts agents proposals ready_tasks sealed_accounts"),
            "entities/reconcile",
            *_in("sqlite", "external_checkpoints one_row store"),
            *("messages", "migrations/history"),
        ),
    ),
    "mapping": Part(
        ("core/mapping",),
        (
            "core/mapping",
            *_in("entities", "initiatives accounts agents tasks ready_tasks sealed_accounts"),
            *("faults/secrets", "testing/for_services"),
        ),
    ),
    "claims": Part(
        _in("entities", "claims ready_tasks obstacles"),
        (
            *_in("entities", "claims ready_tasks idle_claims reconcile"),
            *_in("engine", "paging seeing_it_run"),
            "aio/store",
        ),
    ),
    "changes": Part(
        (
            "core/changes",
            *_in("_sqlite", "change_recorder change_ring change_sharing log_end one_row"),
        ),
        (
            "engine/changes",
            "sqlite/change_recorder",
            "sqlite/shared_changes",
            "sqlite/one_row",
            "engine/tailing",
            "aio/change_feed",
            "messages",
        ),
    ),
    "engine": Part(
        ("core/writer_lock", *_in("_sqlite", "engine writer transaction reader_pool")),
        (
            *_in("sqlite", "store disk_faults stats transactions processes slow"),
            *_in("sqlite", "change_recorder shared_changes replaced_files lock_holder"),
            *_in("core", "clock own_types writer_lock"),
            *_in("engine", "transactions threads errors interrupts fork changes processes query"),
            *("engine/seeing_it_run", "examples/dependencies", "messages", "migrations/additions"),
            *_in("entities", "initiatives reconcile log_chunks log_retention proposals"),
        ),
    ),
    "runner": Part(
        (
            *_in("migrations", "api runner scripts headers ledger"),
            "core/lexer",
            "_sqlite/version",
            *_in("_sqlite/schema", "target apply forbidden inventory foreign_keys"),
        ),
        (
            *_in(
                "migrations",
                "migrate scenarios additions extensions forbidden history disk_faults rehearsal"
                " processes",
            ),
            *_in("sqlite", "backup creation store structure read_only"),
            *("core/lexer", "frozen"),
        ),
    ),
    "backup": Part(
        _in("_sqlite", "backup drafts restore new_names side_files network_disk identity"),
        (
            *_in("sqlite", "backup restore places creation around_the_file replaced_files"),
            *("cli/restore", "cli/terminal"),
        ),
    ),
    "inspection": Part(
        _in("_sqlite", "inspection health permissions lock_holders"),
        (
            *_in("sqlite", "inspection stats exposed_files lock_holder error_map restore"),
            *_in("sqlite", "around_the_file external_checkpoints"),
            *("engine/seeing_it_run", "migrations/extensions", "faults/reports"),
        ),
    ),
    "transfer": Part(
        _in("_transfer", "backlog backlog_lines exporting format importing inserts selects"),
        _in("transfer", "backlog moving"),
    ),
    "aio": Part(
        _in("aio", "awaited database lanes listener own_ways store workers"),
        (
            *_in("aio", "awaited_classes change_feed store thread_limit"),
            *("engine/changes", "examples/wishes", "transfer/moving"),
        ),
    ),
    "cli": Part(
        _in(
            "cli",
            "migration_commands output parser show_command stores terminal transfer_commands"
            " upkeep_commands values",
        ),
        (
            *_in(
                "cli",
                "commands migration_commands output restore show terminal transfer_commands"
                " upkeep_commands usage",
            ),
            *("examples/wishes", "sqlite/read_only", "sqlite/around_the_file"),
        ),
    ),
    "testing": Part(
        (
            "testing/strategies",
            *_in("testing/checker", "calls check columns dialect lists plans reading schema words"),
        ),
        _in(
            "testing",
            "checker_dialect checker_faults checker_lists checker_plans checker_reading"
            " for_services statements",
        ),
    ),
}
