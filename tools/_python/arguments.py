"""What each tool accepts: one function a tool, named as the tool is.

Nothing here needs an environment: no import of cwstore or of what it needs. So a tool answers
`--help` at once, by any Python: `python3 -m tools._python.arguments TOOL --help`.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from tools._python.bakeoff.tool import MODULES
from tools._python.bench.adapters import ADAPTERS

_SQL = Path(__file__).resolve().parents[2] / "sql"


def bakeoff() -> ArgumentParser:
    """Migration scenarios on five tools."""
    parser = ArgumentParser(
        prog="tools/bakeoff",
        description="Run migration scenarios on cwstore and on four other Python tools, each by"
        " its documented interface and with the same SQL in the form that it wants.",
        epilog="dbmate and Drizzle are no Python packages and are left out. A scenario fails if"
        " any part of it does; a tool that has no notion of something accepts it without a word,"
        " and that fails too. Where the application makes or configures the connection"
        " (sqlite-utils, sqlspec) foreign keys are on, as rows that cascade need it. Races and"
        " kills are not the same at each run.",
    )
    parser.add_argument("--only", metavar="A,D", help=f"these scenarios of {'-'.join('AJ')}")
    parser.add_argument("--tools", metavar="X,Y", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--verbose", action="store_true", help="tell what happened")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def bench() -> ArgumentParser:
    """Times beside other ways to SQLite."""
    parser = ArgumentParser(
        prog="tools/bench",
        description="Time cwstore beside what a user would pick instead.",
        epilog="Ratios are to `limit`: bare apsw, prepared statements, rows as tuples. All others"
        " than cwstore have a plain schema: the same tables, keys and foreign keys, and just the"
        " indexes that the workloads need (tools/_data/plain.sql); no CHECK, trigger, view or"
        " attempt. With `--schema own` they have cwstore's. `same-sql`, for that one alone, is the"
        " limit with cwstore's own statements: what lies between the two is SQL. `better-sqlite3`"
        " and `drizzle` need node and npm, and are compiled where no binary can be had.",
    )
    parser.add_argument(
        "--engine",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="postgresql: beside plain psycopg with the same statements, and SQLAlchemy; and claims"
        " beside procrastinate and DBOS",
    )
    parser.add_argument(
        "--schema", choices=("plain", "own"), default="plain", help="of the others (default: plain)"
    )
    parser.add_argument("--only", metavar="W1,W7", help="these workloads")
    parser.add_argument("--adapters", metavar="A,B", help=f"of {', '.join(ADAPTERS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer calls")
    parser.add_argument("--rounds", type=int, help="default 21; with --quick 9")
    parser.add_argument(
        "--processor", action="store_true", help="ratios of processor time, for a busy machine"
    )
    parser.add_argument("--json", metavar="FILE", help="all figures, for programs")
    return parser


def callgrind() -> ArgumentParser:
    """Instructions of one operation."""
    parser = ArgumentParser(
        prog="tools/callgrind",
        description="""\
Count the instructions of an operation of W1 to W9 and W15 to W18, and compare them with a baseline.
The limit is bare apsw on a plain schema (tools/_data/plain.sql).

Counts do not depend on the machine or its load, only on the builds of Python and apsw: a baseline
is kept for each pair of these.
""",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="W1,W7", help="these workloads")
    parser.add_argument("--update", action="store_true", help="make these counts the baseline")
    return parser


def check_statements() -> ArgumentParser:
    """Every SQL statement against the schema."""
    parser = ArgumentParser(
        prog="tools/check_statements",
        description="Check every SQL statement against the schema of sql/migrations, running none.",
        epilog="Exit codes: 0 no faults, 1 faults (one a line), 2 wrong usage. The plans that are"
        " tolerated, each with its reason, are in tools/_data/allowed_plans.toml.",
    )
    parser.add_argument(
        "--table", action="store_true", help="each statement with its tables, plan and indexes"
    )
    return parser


def fairness() -> ArgumentParser:
    """How evenly writers get their turn."""
    parser = ArgumentParser(
        prog="tools/fairness",
        description="Measure how evenly writers get their turn: processes on one file, waiting in"
        " line and as SQLite waits, and threads on one store.",
    )
    parser.add_argument("--writers", type=int, default=8, help="at once (default: 8)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each way (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    return parser


def failover() -> ArgumentParser:
    """What a PostgreSQL cluster loses with its leader."""
    parser = ArgumentParser(
        prog="tools/failover",
        description="""\
Starts three nodes of PostgreSQL under Patroni and etcd on this machine, lets processes create,
claim and complete tasks, and kills the leader with all its processes again and again. In every
second kill the leader goes on for a while with no way to the other two. Before, the leader changes
as planned. Then it looks what is there.

A control runs without synchronous replication: it must lose rows, or nothing is shown. It takes
some 45 s a kill, and Debian's package etcd-server, which it installs where it may. Exit codes:
0 nothing that was acknowledged was lost, and the control lost some; 1 not so; 2 wrong usage.
""",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=10, help="(default: 10)")
    parser.add_argument(
        "--control",
        type=int,
        default=4,
        metavar="KILLS",
        help="of the control (default: 4; 0: none)",
    )
    parser.add_argument(
        "--switchovers", type=int, default=2, metavar="N", help="planned, before (default: 2)"
    )
    parser.add_argument("--writers", type=int, default=4, help="processes (default: 4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="between kills (default: 5)")
    return parser


def faults() -> ArgumentParser:
    """Faults made on purpose, and what was lost."""
    parser = ArgumentParser(
        prog="tools/faults",
        description="""\
Makes disks, power, processes and files fail on purpose, and looks whether anything was lost.

  power    the power is cut after every file operation of recorded work
  errors   the n-th file operation of everything a user can do fails, for every n
  kills    kill -9 at any moment under load, and at each operation that changes a file
  files    damaged pages and logs, crafted schemas, strange things and names instead of a file
  interrupts   Ctrl-C, handlers that read, ends of stack and heap, and clocks that jump

All of it takes hours; --every 10 takes each tenth case. Exit codes: 0 nothing was lost and all was
told truly, 1 something was not (one line each), 2 wrong usage.
""",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", metavar="PART", nargs="*", help="(default: all of them)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="(default: 1, all)")
    parser.add_argument("--match", default="", metavar="TEXT", help="only what has it in its name")
    parser.add_argument("--processes", type=int, default=2, help="at once (default: 2)")
    parser.add_argument("--shown", type=int, default=20, help="faults that are told (default: 20)")
    return parser


def growth() -> ArgumentParser:
    """Costs as the file grows."""
    parser = ArgumentParser(
        prog="tools/growth",
        description="Measure what calls cost as the file grows, beside bare apsw on a plain schema"
        " (tools/_data/plain.sql): it takes minutes, and gigabytes under .cache/.",
    )
    parser.add_argument(
        "--sizes", default="1000,10000,100000,1000000", help="numbers of tasks, ascending"
    )
    parser.add_argument("--full", action="store_true", help="10,000,000 chunks in the last file")
    parser.add_argument("--ids", type=int, metavar="N", help="only: the cost of ids at N chunks")
    parser.add_argument("--json", metavar="FILE", help="all figures, for programs")
    return parser


def handshake() -> ArgumentParser:
    """What opening costs."""
    parser = ArgumentParser(
        prog="tools/handshake",
        description="Time the handshake with an up-to-date file beside a bare connect with the same"
        " settings, and 100 migrations of a new file beside one: medians of interleaved rounds.",
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100, help="openings in a round")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def import_backlog() -> ArgumentParser:
    """Issues into a store."""
    parser = ArgumentParser(
        prog="tools/import_backlog",
        description="""\
Loads a backlog, one issue a line as JSON, into a store.

What is not stored is told line by line, and all numbers are held against what the store has in the
end. Exit codes: 0 every line is accounted for (a refused one is, too), 1 the file or the store
cannot be used or the numbers do not add up, 2 wrong usage.
""",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the backlog, JSON lines")
    parser.add_argument("store", metavar="STORE", help="the cwstore file; it is made if need be")
    parser.add_argument("--initiative", metavar="NAME", help="default: the file's name")
    parser.add_argument("--all", action="store_true", help="list what is left out by rule, too")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def new_migration() -> ArgumentParser:
    """The next migration."""
    parser = ArgumentParser(
        prog="tools/new_migration",
        description="Writes sql/migrations/<next number>_NAME.sql, to be filled in.",
    )
    parser.add_argument("name", metavar="NAME", help="what it does, in snake_case: labels_on_tasks")
    parser.add_argument(
        "--directory", type=Path, default=_SQL / "migrations", help="(default: sql/migrations)"
    )
    return parser


def overhead() -> ArgumentParser:
    """What awaiting, listening and polling cost."""
    parser = ArgumentParser(
        prog="tools/overhead",
        description="Measure what awaiting a call costs over calling it, and what listening to"
        " changes costs a write.",
    )
    parser.add_argument("--rounds", type=int, default=21, help="(default: 21)")
    parser.add_argument(
        "--pollers", type=int, metavar="N", help="only: what N idle dispatchers cost an append"
    )
    parser.add_argument(
        "--listeners",
        type=int,
        metavar="N",
        help="only: what N processes that listen cost a write, and how late they hear of it",
    )
    return parser


def snapshot() -> ArgumentParser:
    """What is generated."""
    parser = ArgumentParser(
        prog="tools/snapshot",
        description="Writes sql/schema.sql, sql/fingerprints and the sql/statements of the newest"
        " version, and computes the claims of compatibility.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    parser.add_argument(
        "--amend",
        type=int,
        metavar="VERSION",
        help="record this migration and later ones anew; only while they are not released",
    )
    parser.add_argument("--sql", type=Path, default=_SQL, help="the directory (default: sql)")
    return parser


def soak() -> ArgumentParser:
    """Many processes on one file, some killed."""
    parser = ArgumentParser(
        prog="tools/soak",
        description="Rounds of workers on one file, killed at random, until the time is up; then a"
        " table of what was found.",
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--processes", type=int, default=16, help="at once (default: 16)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: 1)")
    parser.add_argument("--kills", type=int, default=60, help="a round, at most (default: 60)")
    parser.add_argument("--calm", type=int, default=15, help="progress between kills (default: 15)")
    parser.add_argument(
        "--address",
        help="of a database of PostgreSQL; each round leaves two schemas there (default: a file)",
    )
    return parser


def wal() -> ArgumentParser:
    """How long the write-ahead log becomes."""
    parser = ArgumentParser(
        prog="tools/wal",
        description="Measure how long the write-ahead log becomes while many read and write.",
    )
    parser.add_argument("--writers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--readers", type=int, default=4, help="processes (default: 4)")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default: 1)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round (default: 5)")
    parser.add_argument("--long-read", type=float, default=0.0, help="seconds, beginning after one")
    parser.add_argument("--rounds", type=int, default=2, help="(default: 2)")
    return parser


TOOLS = {
    tool.__name__: tool
    for tool in (
        *(bakeoff, bench, callgrind, check_statements, failover, fairness, faults, growth),
        *(handshake, import_backlog, new_migration, overhead, snapshot, soak, wal),
    )
}

if __name__ == "__main__":
    # A tool's name and its arguments, `--help` among them.
    TOOLS[sys.argv[1]]().parse_args(sys.argv[2:])
