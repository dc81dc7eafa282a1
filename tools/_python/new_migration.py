"""Begin a new migration: `tools/new_migration --help`."""

import sys
from collections.abc import Sequence

from cwstore.errors import InvalidValueError, MigrationError, StorageError
from cwstore.migrations.new import new_migration
from tools._python import arguments as accepted


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; the exit code: 0 done, 1 not possible, 2 usage."""
    parser = accepted.new_migration()
    options = parser.parse_args(arguments)
    try:
        path = new_migration(options.name, options.directory)
    except InvalidValueError as error:
        parser.error(str(error))
    except (MigrationError, StorageError) as error:
        print(f"tools/new_migration: {error}", file=sys.stderr)
        return 1
    print(path)
    print("Write the statements, then run tools/snapshot, which records it, and tools/test.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
