"""The commands `check`, `backup`, `restore`, `stats`, `prune` and `compact`.

Each prints, and returns its exit code.
"""

import os
from argparse import Namespace
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cwstore._overview.reading import read_agent_logs
from cwstore.cli import terminal
from cwstore.cli.stores import open_database, open_program, open_store, program_of
from cwstore.cli.values import bar, readable_bytes
from cwstore.core.checks import check_application_id
from cwstore.core.drivers import engine_for, is_address, shown
from cwstore.migrations.advice import how_to_restore
from cwstore.migrations.scripts import Program

if TYPE_CHECKING:
    from cwstore._overview.reading import AgentLog
    from cwstore.core.reports import CheckReport, StoreStats

_MOST_AGENTS = 20  # whose logs are listed


def check(options: Namespace) -> int:
    """Look for damage; 1 if there is any."""
    with terminal.progress("Checking"):
        number = check_application_id(options.application_id)
        program = engine_for(options.path, "schema.target").program_for(
            options.directory, number, ()
        )
        inspection = engine_for(options.path, "inspection")
        report: CheckReport = inspection.check_file(options.path, program)
    name = shown(options.path)
    if options.json:
        terminal.print_json({"ok": report.ok, **asdict(report)})
    else:
        for problem in (*report.integrity, *report.foreign_keys, *report.drift, *report.exposed):
            terminal.say(problem)
        for added in report.added:
            terminal.say(f"Somebody added, and it is left alone: {added}")
        if report.ok:
            terminal.say(f"{name}: OK: no damage, no broken references, schema as expected.")
    if not report.ok:
        file = name if is_address(options.path) else os.path.realpath(options.path)
        advice = how_to_restore(program, file)
        terminal.complain("cwstore", f"{name} has the problems listed; {advice}")
    return 0 if report.ok else 1


def backup(options: Namespace) -> int:
    """Copy the file and verify the copy."""
    target = options.target
    if target is None:
        target = _free_name(f"{options.path}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    with terminal.progress("Copying"), open_program(options, to_read=True) as store:
        store.backup(target)
    size = os.stat(target).st_size
    if options.json:
        terminal.print_json({"path": target, "bytes": size})
    else:
        terminal.say(f"{target}: {size:,} bytes, verified.")
    return 0


def _free_name(begin: str) -> str:
    """`begin`.bak, or where two are made in one second `begin`-2.bak and so on."""
    name, number = f"{begin}.bak", 1
    while os.path.lexists(name):
        number += 1
        name = f"{begin}-{number}.bak"
    return name


def stats(options: Namespace) -> int:
    """Show rows and bytes of each table, of each agent's log, and which processes read."""
    logs: list[AgentLog] = []
    with terminal.progress("Counting"):
        if program_of(options) == Program():
            with closing(open_database(options.path)) as database:
                found = database.stats()
                with database.snapshot("stats") as db:
                    logs = read_agent_logs(db)
        else:
            with open_program(options, to_read=True) as store:
                found = store.stats()
    if options.json:
        terminal.print_json({**asdict(found), "agent_logs": [asdict(log) for log in logs]})
        return 0
    _show_tables(options.path, found)
    if logs:
        _show_logs(logs)
    for reader in found.readers:
        terminal.say(
            f"Process {reader.pid} ({reader.process or 'unknown'}) holds a snapshot of the file."
        )
    return 0


def _show_tables(path: str, found: "StoreStats") -> None:
    most = max((table.bytes + table.index_bytes for table in found.tables), default=0)
    rows = [
        (
            t.name,
            f"{t.rows:,}",
            f"{t.bytes:,}",
            f"{t.index_bytes:,}",
            bar(t.bytes + t.index_bytes, most),
        )
        for t in found.tables
    ]
    terminal.table(shown(path), ("table", "rows", "bytes", "of indexes", "both"), rows)
    if is_address(path):
        terminal.say(f"Version {found.version}; {found.file_bytes:,} bytes of tables and indexes.")
        return
    terminal.say(
        f"Version {found.version}; {found.file_bytes:,} bytes in the file ({found.free_bytes:,}"
        f" free) and {found.wal_bytes:,} in its write-ahead log ({found.wal_pending_bytes:,} of"
        " them not moved into the file yet)."
    )


def _show_logs(logs: "list[AgentLog]") -> None:
    rows = [
        (
            log.agent_name,
            f"{log.sessions:,}",
            f"{log.chunks:,}",
            f"{log.bytes:,}",
            bar(log.bytes, logs[0].bytes),
        )
        for log in logs[:_MOST_AGENTS]
    ]
    title = "Logs of agents"
    if len(logs) > _MOST_AGENTS:
        title += f": the {_MOST_AGENTS} longest of {len(logs):,}; --json tells all"
    terminal.table(title, ("agent", "sessions", "chunks", "bytes of text", ""), rows)


def prune(options: Namespace) -> int:
    """Delete old sessions of logs, or only count them."""
    from cwstore.entities.log_retention import count_prunable

    older: timedelta | None = options.older_than
    before = None if older is None else datetime.now(UTC) - older
    keep, room = options.keep_sessions, options.max_size
    if before is None and keep is None and room is None:
        options.parser.error(
            "say what may go: --older-than 30d, --keep-sessions 3 or --max-size 2GB"
        )
    with terminal.progress("Counting" if options.dry_run else "Pruning"):
        if options.dry_run:
            with closing(open_database(options.path)) as database:
                found = count_prunable(database, before, keep, room)
        else:
            with open_store(options.path, to_read=False) as store:
                found = store.log_chunks.prune(before=before, keep_sessions=keep, max_bytes=room)
    if options.json:
        terminal.print_json({"dry_run": options.dry_run, **asdict(found)})
        return 0
    done = "Would delete" if options.dry_run else "Deleted"
    terminal.say(
        f"{done} {found.sessions:,} sessions with {found.chunks:,} log chunks,"
        f" {readable_bytes(found.bytes)} of text."
    )
    return 0


def compact(options: Namespace) -> int:
    """Give free space back."""
    with (
        terminal.progress("Compacting"),
        open_program(options, to_read=False) as store,
    ):
        given_back = store.compact()
    size = os.stat(options.path).st_size
    if options.json:
        terminal.print_json({"bytes": given_back, "file_bytes": size})
    else:
        terminal.say(
            f"{options.path}: {readable_bytes(given_back)} given back to the file system;"
            f" the file has {readable_bytes(size)}."
        )
    return 0


def restore(options: Namespace) -> int:
    """Put a copy of a backup in the place of the file."""
    from cwstore.store import restore as put_back

    with terminal.progress("Restoring"):
        done = put_back(
            options.backup,
            options.path,
            directory=options.directory,
            application_id=options.application_id,
        )
    if options.json:
        terminal.print_json(done)
        return 0
    terminal.say(
        f"{done.path} is a copy of {options.backup} now: version {done.version},"
        f" {done.size:,} bytes, verified."
    )
    if done.kept is not None:
        terminal.say(f"What was there is kept as {done.kept}.")
    return 0
