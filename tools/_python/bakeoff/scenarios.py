"""The scenarios A to J. Each returns what went wrong, in a few words; nothing: it passes."""

from collections.abc import Callable

from tools._python.bakeoff import scripts as sql
from tools._python.bakeoff.place import Place, Yard
from tools._python.bakeoff.processes import killed, six_at_once

Scenario = Callable[[Yard], list[str]]


def failing_statement(yard: Yard) -> list[str]:
    """A: the second statement fails."""
    place = yard.migrated(*sql.BASE)
    before = place.content()
    place.write(*sql.BASE, sql.FAILING)
    outcome = place.migrate()
    wanted = {
        "the file": "0003",
        "the statement": "statement 2",
        "the line": "line 3",
        "the cause": "UNIQUE constraint failed",
    }
    missing = [what for what, text in wanted.items() if text not in outcome.text]
    return [
        *(["it is taken for success"] if not outcome.refused else []),
        *(["a part of the script stays"] if place.content() != before else []),
        *([f"the message does not tell {', '.join(missing)}"] if missing else []),
    ]


def newer_file(yard: Yard) -> list[str]:
    """B: older code meets a newer file."""
    place = yard.migrated(*sql.BASE, sql.NEWER)
    place.write(*sql.BASE)
    outcome = place.migrate()
    if not outcome.refused:
        return ["it opens it without a word"]
    words = ("3", "2", "update", "backup")
    problems = (
        [] if all(word in outcome.text for word in words) else ["the message says too little"]
    )
    claimed = yard.migrated(*sql.BASE, f"-- compatible-with: 2\n{sql.NEWER}")
    claimed.write(*sql.BASE)
    if claimed.migrate().refused:
        problems.append("a newer file that says it is compatible is refused too")
    return problems


def edited_migration(yard: Yard) -> list[str]:
    """C: an applied script changes, by a token or in its layout only."""
    place = yard.migrated(*sql.BASE)
    before = place.content()
    problems: list[str] = []
    for what, text in {
        "another literal": sql.CHILDREN.replace("'nobody'", "'somebody'"),
        "a literal with --": sql.CHILDREN.replace("'nobody'", "'nobody --'"),
    }.items():
        place.write(sql.PARENTS, text)
        if not place.migrate().refused:
            problems.append(f"{what} is accepted without a word")
    for what, text in {
        "CRLF": sql.CHILDREN.replace("\n", "\r\n"),
        "another layout": sql.CHILDREN.replace("    ", "\t").replace("(\n", "(\n\n"),
        "a comment": f"-- why; and who\n{sql.CHILDREN}",
    }.items():
        place.write(sql.PARENTS, text)
        if place.migrate().refused:
            problems.append(f"{what} is refused")
    return problems + _changed(place, before)


def rebuilt_parent(yard: Yard) -> list[str]:
    """E: a parent table is rebuilt in 12 steps."""
    place = yard.migrated(*sql.BASE)
    before = place.content()
    place.write(*sql.BASE, sql.REBUILD_PARENT)
    outcome = place.migrate()
    if outcome.refused:
        return [f"it fails: {outcome.brief}", *_changed(place, before)]
    return _changed(place, before)


def violations(yard: Yard) -> list[str]:
    """F: a script leaves foreign keys that lead nowhere; a file had some before."""
    problems: list[str] = []
    place = yard.migrated(*sql.BASE)
    before = place.content()
    place.write(*sql.BASE, sql.ORPHANS)
    if not place.migrate().refused:
        problems.append("violations are accepted without a word")
    else:
        problems += _changed(place, before)
    dirty = yard.migrated(*sql.BASE)
    dirty.run(sql.ORPHANS)
    before = dirty.content()
    dirty.write(*sql.BASE, sql.REBUILD_CHILDREN)
    outcome = dirty.migrate()
    if outcome.refused:
        problems.append(f"a file that was dirty before cannot be upgraded: {outcome.brief}")
    return problems + _changed(dirty, before)


def triggers(yard: Yard) -> list[str]:
    """G: semicolons in triggers, strings and comments."""
    place = yard.place(sql.WITH_TRIGGER)
    outcome = place.migrate()
    if outcome.refused:
        return [f"it fails: {outcome.brief}"]
    problems: list[str] = []
    stored = place.run("SELECT sql FROM sqlite_schema WHERE name = 'told'")
    if stored != [(sql.TRIGGER.rstrip(";\n"),)]:
        problems.append("the trigger is another one")
    if place.run("SELECT c FROM log") != [("semi;END;",), ("it's; /* no comment */ END;",)]:
        problems.append("the trigger does something else")
    return problems


def foreign_file(yard: Yard) -> list[str]:
    """H: files that are not ours."""
    problems: list[str] = []
    theirs = "PRAGMA user_version = 1; CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)"
    for what, make in {
        "another application's file": f"PRAGMA application_id = 7; {theirs}",
        "an empty file": "",
        "tables without an application id": theirs,
    }.items():
        place = yard.place(*sql.BASE)
        place.file.touch()
        if make:
            place.run(make)
        before = place.file.read_bytes()
        refused = place.migrate().refused
        if not refused:
            problems.append(f"{what} is migrated")
        elif place.file.read_bytes() != before:
            problems.append(f"{what} is refused, but changed")
    return problems


def numbers(yard: Yard) -> list[str]:
    """J: a gap, a number that comes late, a number used twice."""
    problems: list[str] = []
    gap = yard.place()
    gap.write_named({"0001_step": sql.PARENTS, "0003_step": sql.CHILDREN})
    outcome = gap.migrate()
    if not outcome.refused:
        problems.append("a gap is accepted")
    elif "0002" not in outcome.text:
        problems.append(f"a gap is refused, but not by name: {outcome.brief}")
    # Where there can be no gap, the script that comes late has moved the later one up.
    late = yard.migrated(*sql.BASE) if outcome.refused else gap
    problems += _number(
        late,
        {"0001_step": sql.PARENTS, "0002_late": sql.NEWER, "0003_step": sql.CHILDREN},
        "a late number",
    )
    twice = yard.migrated(sql.PARENTS)
    return problems + _number(
        twice,
        {"0001_step": sql.PARENTS, "0002_one": sql.CHILDREN, "0002_other": sql.NEWER},
        "a number used twice",
    )


def _number(place: Place, scripts: dict[str, str], what: str) -> list[str]:
    """What is wrong with what a tool says of number 2."""
    before = place.content()
    place.write_named(scripts)
    outcome = place.migrate()
    if not outcome.refused:
        return [f"{what} is applied"]
    if changes := _changed(place, before):
        return [f"{what} is refused, but too late: {', '.join(changes)}"]
    if "0002" not in outcome.text:
        return [f"{what} is refused, but not by name: {outcome.brief}"]
    return []


def _changed(place: Place, before: dict[str, list[tuple[object, ...]]]) -> list[str]:
    """What a file lost or gained, in a few words."""
    after = place.content()
    problems = [
        f"{len(rows)} rows of {table} before, {len(after.get(table, []))} after"
        for table, rows in before.items()
        if table and len(rows) != len(after.get(table, []))
    ]
    gone = [f"{kind} {name}" for kind, name in before[""] if (kind, name) not in after[""]]
    more = [f"{kind} {name}" for kind, name in after[""] if (kind, name) not in before[""]]
    problems += [f"lost: {', '.join(gone)}"] if gone else []
    problems += [f"left behind: {', '.join(more)}"] if more else []
    if not problems and any(after.get(table) != rows for table, rows in before.items()):
        problems.append("rows have other values")
    return problems


SCENARIOS: dict[str, tuple[str, Scenario]] = {
    "A": ("a second statement fails", failing_statement),
    "B": ("a newer file", newer_file),
    "C": ("an applied migration is edited", edited_migration),
    "D": ("six processes at once", six_at_once),
    "E": ("a parent table is rebuilt", rebuilt_parent),
    "F": ("foreign-key violations", violations),
    "G": ("semicolons in triggers", triggers),
    "H": ("files that are not ours", foreign_file),
    "I": ("kill -9 at twenty moments", killed),
    "J": ("late, missing, double numbers", numbers),
}
