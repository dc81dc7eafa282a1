"""Runs the scenarios and prints the table; see tools/bakeoff --help."""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apsw

from tools._python import arguments as accepted
from tools._python.bakeoff.place import Yard
from tools._python.bakeoff.scenarios import SCENARIOS
from tools._python.bakeoff.tool import MODULES, load, version_of

Results = dict[str, dict[str, list[str]]]  # scenario -> tool -> what went wrong


def measure(tools: Sequence[str], scenarios: Sequence[str], root: Path) -> Results:
    """Run each scenario on each tool, every time in fresh directories."""
    results: Results = {}
    for letter in scenarios:
        results[letter] = {}
        for name in tools:
            if sys.stderr.isatty():
                print(f"\r{letter} {name:<20}", end="", file=sys.stderr, flush=True)
            yard = Yard(MODULES.get(name, name), root / f"{letter}-{name}")
            results[letter][name] = SCENARIOS[letter][1](yard)
    if sys.stderr.isatty():
        print("\r" + " " * 30, end="\r", file=sys.stderr)
    return results


def table(results: Results, tools: Sequence[str]) -> list[str]:
    """The table, in Markdown that reads well as it is."""
    first = {letter: f"{letter} {SCENARIOS[letter][0]}" for letter in results}
    wide = max(len(text) for text in first.values())
    widths = [max(len(name), 6) for name in tools]

    def line(head: str, cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {head.ljust(wide)} | {' | '.join(padded)} |"

    rows = [line("", tools), line("-" * wide, ["-" * width for width in widths])]
    for letter, found in results.items():
        cells = ["fails" if found[name] else "passes" for name in tools]
        rows.append(line(first[letter], cells))
    return rows


def _chosen(text: str | None, known: Sequence[str]) -> list[str]:
    wanted = text.split(",") if text else known
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"tools/bakeoff: unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [name for name in known if name in wanted]


def versions(tools: Sequence[str]) -> dict[str, str]:
    """What was compared, on what: the peers use the SQLite of Python's own library."""
    library = subprocess.run(
        [sys.executable, "-c", "import sqlite3; print(sqlite3.sqlite_version)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        **{name: version_of(load(MODULES[name])) for name in tools},
        "apsw": apsw.apsw_version(),
        "Python": platform.python_version(),
        "its SQLite": library.stdout.strip(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 if cwstore fails a scenario."""
    options = accepted.bakeoff().parse_args(arguments)
    tools = _chosen(options.tools, list(MODULES))
    scenarios = _chosen(options.only, list(SCENARIOS))
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        results = measure(tools, scenarios, Path(folder))
    compared = versions(tools)
    if options.json:
        print(json.dumps({"versions": compared, "scenarios": results}, indent=1))
    else:
        print("\n".join(table(results, tools)))
        print(", ".join(f"{name} {version}" for name, version in compared.items()))
        if options.verbose:
            for letter, found in results.items():
                for name, problems in found.items():
                    print(f"{letter} {name}: {'; '.join(problems) or 'passes'}")
    return 1 if any(found.get("cwstore") for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
