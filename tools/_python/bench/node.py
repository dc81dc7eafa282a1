"""The adapters that run on Node.js: what they need is installed on first use, if it can be.

Their process is given the calls of a workload, where one of Python makes them itself.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools._python.bench import common
from tools._python.bench.workloads import OPENING, calls_before, calls_of

SCRIPTS = Path(__file__).resolve().parents[2] / "_node"
#: The file of each adapter.
SCRIPT = {"better-sqlite3": "better_sqlite3.mjs", "drizzle": "drizzle.mjs"}
# 13 wants Node.js 22, and its binary crashes on 20.
PACKAGES = ("better-sqlite3@12.11.1", "drizzle-orm@0.45.4")


def install(root: Path) -> str:
    """Make .venvs/node, unless it is there. Returns why it cannot be had, or ""."""
    home = root / ".venvs" / "node"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "there is no node, or no npm"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    wanted = " ".join((version.stdout.strip(), *PACKAGES))
    ready = home / ".ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return ""
    print("tools/bench: making .venvs/node (some minutes if it is compiled)", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    environment = dict(os.environ)
    headers = Path(node).resolve().parents[1]
    if (headers / "include" / "node" / "node.h").exists():  # else they would be downloaded
        environment["npm_config_nodedir"] = str(headers)
    log = home / "install.log"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", *PACKAGES],
            cwd=home,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        return f"npm install failed: {log.relative_to(root)} tells why"
    ready.write_text(wanted, encoding="utf-8")
    return ""


def write_statements(file: Path) -> None:
    """The SQL of common.py, for the adapters."""
    texts: dict[str, Any] = {
        name: value
        for name, value in vars(common).items()
        if name.isupper() and isinstance(value, str | int | tuple)
    }
    file.write_text(json.dumps(texts), encoding="utf-8")


def command(root: Path, folder: Path, name: str) -> list[str]:
    """What starts the process of an adapter; `folder` has the statements."""
    adapter = str(SCRIPTS / SCRIPT[name])
    statements = str(folder / "statements.json")
    child = str(SCRIPTS / "child.mjs")
    return ["node", "--expose-gc", child, str(root / ".venvs" / "node"), adapter, statements]


def with_calls(do: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    """A request with the calls that it is about."""
    if do not in ("can", "prepare", "sample"):
        return arguments
    name = str(arguments["name"])
    number, count = arguments.get("number", 0), arguments.get("count", 1)
    assert isinstance(number, int)
    assert isinstance(count, int)
    return {
        "before": calls_before(name, count),
        "calls": calls_of(name, number, count),
        "opening": name == OPENING,
    }
