"""One migration in a process of its own: says `ready`, waits for a line, migrates.

Exits with 0: done, 1: the tool raised. Then its message is printed, and the functions that it came
through, since some tools know a migration by its function; no line numbers of Python.
"""

import sys
from traceback import walk_tb
from types import TracebackType

from tools._python.bakeoff.tool import load


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    print(f"{kind.__name__}: {error}", file=sys.stderr)
    print("in", *(frame.f_code.co_name for frame, _ in walk_tb(traceback)), file=sys.stderr)


def main() -> None:
    """Import the tool first, so that all who wait for the line begin at once."""
    module, file, directory = sys.argv[1:]
    run = load(module).runner()
    sys.excepthook = _tell
    print("ready", flush=True)
    sys.stdin.readline()
    run(file, directory)


if __name__ == "__main__":
    main()
