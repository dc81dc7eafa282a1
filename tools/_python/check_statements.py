"""Check every SQL statement of cwstore: `tools/check_statements --help`."""

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import cwstore.entities
from cwstore.testing import check_statements
from tools._python import arguments as accepted

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = ROOT / "tools" / "_data" / "allowed_plans.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print what was asked for, return the exit code."""
    options = accepted.check_statements().parse_args(arguments)
    allowed = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))
    report = check_statements(cwstore.entities, ROOT / "sql" / "migrations", allow=allowed)
    if options.table:
        print(report.table())
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
