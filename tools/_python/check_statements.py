"""Check every SQL statement of cwstore: `tools/check_statements --help`."""

import sys
from collections.abc import Sequence

from tools._python import arguments as accepted
from tools._python.checked import check_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print what was asked for, return the exit code."""
    options = accepted.check_statements().parse_args(arguments)
    report = check_all()
    if options.table:
        print(report.table())
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
