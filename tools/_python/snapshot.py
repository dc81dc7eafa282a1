"""Write what is generated from the migrations and the package: `tools/snapshot --help`.

A new migration gets a manifest of its own, and that of the version before stays as it was. If that
version was never released, remove it: `tools/_python/released.py` says which ones there are.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cwstore.errors import MigrationError
from cwstore.migrations.scripts import load
from tools._python import arguments as accepted
from tools._python.readme_parts import diagram, with_methods
from tools._python.released import (
    broken_records,
    false_claims,
    fingerprints,
    fingerprints_text,
    made,
    released,
    statements_text,
)
from tools._python.schema_text import schema_text


def generated(sql: Path) -> dict[Path, str]:
    """Each generated file with what it should hold. Older statements stay as they are."""
    files = load(sql / "migrations")
    newest = len(files)
    migrated = made(files)
    return {
        sql / "schema.sql": schema_text(migrated, files),
        sql / "diagram.md": diagram(migrated),
        sql / "fingerprints": fingerprints_text(fingerprints(tuple(files))),
        sql / "statements" / f"{newest:04}.sql": statements_text(newest),
    }


def stale(sql: Path) -> dict[Path, str]:
    """Those of the generated files that are missing or not current, and the README beside."""
    readme = sql.parent / "README.md"
    wanted = generated(sql)
    if readme.exists():
        wanted[readme] = with_methods(readme.read_text(encoding="utf-8"))
    return {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def problems(sql: Path) -> list[str]:
    """What no writing mends, beside broken records: a false claim, statements of no version."""
    newest = len(load(sql / "migrations"))
    beyond = [
        f"statements/{version:04}.sql is of a version that no migration leads to: remove it"
        for version in released(sql)
        if version > newest
    ]
    return beyond + false_claims(sql)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; the exit code: 0 all is current, 1 it is not, or must not become so."""
    options = accepted.snapshot().parse_args(arguments)
    sql: Path = options.sql
    try:
        old = stale(sql)
        wrong = broken_records(sql, options.amend)
        if not options.check and not wrong:
            for path, text in old.items():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path}")
        wrong += problems(sql)
    except MigrationError as error:
        old, wrong = {}, [str(error)]
    if options.check:
        wrong += [f"{path} is not current: run tools/snapshot" for path in old]
    for line in wrong:
        print(f"tools/snapshot: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
