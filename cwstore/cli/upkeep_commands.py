"""The commands `check`, `backup` and `stats`. Each prints, and returns its exit code."""

import os
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cwstore.cli import terminal
from cwstore.core.drivers import engine_for
from cwstore.errors import MigrationError, StorageError

if TYPE_CHECKING:
    from cwstore.core.reports import CheckReport
    from cwstore.store import Store


def check(options: Namespace) -> int:
    """Look for damage; 1 if there is any."""
    report: CheckReport = engine_for(options.path, "inspection").check_file(options.path)
    if options.json:
        terminal.print_json({"ok": report.ok, **asdict(report)})
    else:
        for problem in (*report.integrity, *report.foreign_keys, *report.drift):
            terminal.say(problem)
        if report.ok:
            terminal.say(
                f"{options.path}: OK: no damage, no broken references, schema as expected."
            )
    if not report.ok:
        terminal.complain("cwstore", f"{options.path} has the problems listed; restore a backup")
    return 0 if report.ok else 1


def backup(options: Namespace) -> int:
    """Copy the file and verify the copy."""
    target = options.target
    if target is None:
        target = f"{options.path}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.bak"
    with _open_existing(options.path) as store:
        store.backup(target)
    size = os.stat(target).st_size
    if options.json:
        terminal.print_json({"path": target, "bytes": size})
    else:
        terminal.say(f"{target}: {size:,} bytes, verified.")
    return 0


def stats(options: Namespace) -> int:
    """Show rows and bytes of each table, and which processes read from the log."""
    with _open_existing(options.path) as store:
        found = store.stats()
    if options.json:
        terminal.print_json(found)
        return 0
    rows = [(t.name, f"{t.rows:,}", f"{t.bytes:,}", f"{t.index_bytes:,}") for t in found.tables]
    terminal.table(options.path, ("table", "rows", "bytes", "bytes of indexes"), rows)
    terminal.say(
        f"Version {found.version}; {found.file_bytes:,} bytes in the file ({found.free_bytes:,}"
        f" free) and {found.wal_bytes:,} in its write-ahead log ({found.wal_pending_bytes:,} of"
        " them not moved into the file yet)."
    )
    for reader in found.readers:
        terminal.say(
            f"Process {reader.pid} ({reader.process or 'unknown'}) holds a snapshot of the file."
        )
    return 0


def _open_existing(path: str) -> "Store":
    """Open a file that exists and is up to date. These commands neither make nor migrate one."""
    from cwstore.migrations.api import status
    from cwstore.store import Store

    found = status(path)
    if not os.path.exists(found.path):
        raise StorageError(f"{found.path} is not there; give the path of a cwstore file")
    if found.pending:
        raise MigrationError(
            f"{found.path} has version {found.version}, this cwstore works on {found.newest}:"
            f" run `cwstore migrate {path}` first"
        )
    return Store.open(path)
