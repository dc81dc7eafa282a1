"""The commands `migrate`, `status`, `rehearse`, `new`. Each prints, and returns its exit code."""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cwstore.cli import terminal
from cwstore.cli.stores import program_of
from cwstore.core.drivers import is_address, shown
from cwstore.migrations import api
from cwstore.migrations.advice import options_of

if TYPE_CHECKING:
    from cwstore.core.reports import Progress, Step

_PENDING = 3  # the exit code of `status --exit-code`


def migrate(options: Namespace) -> int:
    """Bring the file to the newest version, or to `options.target`."""
    with terminal.progress("Migrating") as report:
        done = api.migrate(
            options.path,
            directory=options.directory,
            application_id=options.application_id,
            target=options.target,
            backup=options.backup,
            on_progress=_to_bar(report),
        )
    if options.json:
        terminal.print_json(done)
        return 0
    if done.steps:
        _show_steps(f"Migrated in {done.seconds:.2f} s", done.steps)
    if done.backup is not None:
        terminal.say(f"Backup: {done.backup}")
    terminal.say(f"{shown(options.path)} has version {done.version}; {_count(done.steps)} applied.")
    return 0


def status(options: Namespace) -> int:
    """Show the version and what is pending; the file is only read."""
    found = api.status(
        options.path, directory=options.directory, application_id=options.application_id
    )
    code = _PENDING if found.pending and options.exit_code else 0
    if options.json:
        terminal.print_json(found)
        return code
    is_there = is_address(options.path) or os.path.exists(found.path)
    rows = [
        ("version", f"{found.version} of {found.newest}"),
        ("usable by code from version", str(found.compatible_from)),
        ("size", f"{found.size:,} bytes" if is_there else "no file yet"),
        ("backup before migrating", found.backup or "none"),
        ("pending migrations", str(len(found.pending))),
    ]
    terminal.table(found.path, ("", ""), rows)
    for name in found.pending:
        terminal.say(f"pending: {name}")
    for remark in found.exposed:
        terminal.say(remark)
    for one in found.extensions:
        newest = "(its migrations were not given)" if one.newest is None else f"of {one.newest}"
        terminal.say(f"extension {one.name}: version {one.version} {newest}")
    for added in found.added:
        terminal.say(f"added by somebody, and left alone: {added}")
    if found.pending and found.version:
        given = options_of(program_of(options))
        terminal.say(f"`cwstore rehearse {shown(options.path)}{given}` shows what they would do.")
    return code


def rehearse(options: Namespace) -> int:
    """Migrate a copy, or on a server in a transaction that is undone, and show what that did."""
    with terminal.progress("Rehearsing") as report:
        done = api.rehearse(
            options.path,
            directory=options.directory,
            application_id=options.application_id,
            target=options.target,
            on_progress=_to_bar(report),
        )
    if options.json:
        terminal.print_json(done)
        return 0
    how, left = "on a copy", "was not touched"
    if is_address(options.path):
        how, left = "in a transaction that was undone", "is as it was"
    if done.steps:
        _show_steps(f"Rehearsed {how} in {done.seconds:.2f} s", done.steps)
    for violation in done.violations:
        terminal.say(f"broken foreign key: {violation}")
    if not done.violations:
        terminal.say("0 broken foreign keys")
    if not done.steps:
        terminal.say(f"{shown(options.path)} {left}. Nothing is pending: version {done.version}.")
        return 0
    terminal.say(
        f"{shown(options.path)} {left}. It would go from version {done.version_before} to"
        f" {done.version}, from {done.size_before:,} to {done.size:,} bytes."
    )
    return 0


def new(options: Namespace) -> int:
    """Begin a migration."""
    from cwstore.migrations.new import new_migration

    path = new_migration(options.name, options.directory)
    if options.json:
        terminal.print_json({"path": path})
    else:
        terminal.say(path)
        terminal.say("Write its statements, then try it: `cwstore rehearse PATH`.")
    return 0


def _to_bar(report: terminal.Report) -> "Callable[[Progress], None]":
    def show(at: "Progress") -> None:
        share = at.statement / at.of_statements if at.of_statements else 1.0
        report(
            at.migration - 1 + share,
            at.of_migrations,
            f"migration {at.migration} of {at.of_migrations}: {at.name},"
            f" statement {at.statement} of {at.of_statements}, {at.seconds:.1f} s",
        )

    return show


def _show_steps(title: str, steps: "Sequence[Step]") -> None:
    rows = [(s.name, str(s.statements), f"{s.rows_changed:,}", f"{s.seconds:.3f}") for s in steps]
    terminal.table(title, ("migration", "statements", "rows changed", "seconds"), rows)


def _count(steps: "Sequence[Step]") -> str:
    return "1 migration" if len(steps) == 1 else f"{len(steps)} migrations"
