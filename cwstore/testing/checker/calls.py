"""Match the call sites with the statements: `self._db.fetch_one(_FIND_BY_ID, id=id)`.

The source is read, not run. A call names its statement by a constant, or through any of these: a
local variable, a choice (`_A if x else _B`), a container (`choice.find`, `_BY_KEY[key]`), a
function of the module that returns it (`_choose(...)`). Each statement that it may stand for must
then take the keywords; a variable stands for everything that the function assigns to it. A
statement that comes in as a parameter is not followed: the call is reported.

The checker cannot know what `**` passes. Each bind that the call does not write out must occur as
text, or as a key of a TypedDict, in the module or in one that it imports from.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cwstore.core.statement import ENGINE_BINDS, Listing, Patch, bind_names
from cwstore.testing.checker.found import AnyPatch, Found, Source, known_keys
from cwstore.testing.checker.report import Fault

#: Methods of the port that take a statement: whether it must write, whether it must return rows.
_VERBS = {
    "fetch_one": (False, True),
    "look": (False, True),
    "fetch_all": (False, True),
    "insert": (True, True),
    "write_one": (True, True),
    "write_all": (True, True),
    "execute": (True, False),
    "insert_many": (True, False),
    "fetch_page": (False, True),
    "iterate": (False, True),
}
_PATCH = "patch_row"  # the function that runs a patch
_WITH_DATABASE = {_PATCH, "fetch_page"}  # functions: the database is their first argument


@dataclass(frozen=True, slots=True)
class Call:
    """One call that runs a statement, in the function that holds it."""

    source: Source
    function: ast.AST
    node: ast.Call
    verb: str
    statement: ast.expr

    @property
    def place(self) -> str:
        """Its place in reports."""
        return f"{self.source.path}:{self.node.lineno}"


def check_calls(
    sources: list[Source], statements: list[Found], writes: dict[str, bool], rows: dict[str, bool]
) -> Iterator[Fault]:
    """Binds against keywords, verbs against statements, and statements that nobody runs.

    `writes` and `rows` tell of each subject whether it writes and whether it returns rows.
    """
    run: set[str] = set()
    for call in (call for source in sources for call in _calls(source)):
        candidates = _candidates(call, statements, sources)
        if not candidates:
            yield Fault(
                call.place,
                f"{call.source.name}:{call.node.lineno}",
                "call",
                "cannot tell which statement is run; name it in the call, or assign it before",
            )
        for found in candidates:
            run.add(found.subject)
            yield from _check_verb(call, found, writes, rows)
            yield from _check_binds(call, found, sources)
    kept = {id(one.value.find) for one in statements if isinstance(one.value, Patch | Listing)}
    for found in statements:
        if found.subject not in run and id(found.value) not in kept:
            yield Fault(found.place, found.subject, "unused", "no call runs it; remove it")


def _calls(source: Source) -> Iterator[Call]:
    for function in ast.walk(source.tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            verb = _name_of(node.func)
            if verb in _WITH_DATABASE and len(node.args) > 1:
                yield Call(source, function, node, verb, node.args[1])
            elif verb in _VERBS and _receiver_of(node.func) in {"_db", "db"}:
                yield Call(source, function, node, verb, node.args[0])


def _receiver_of(node: ast.expr) -> str:
    return _name_of(node.value) if isinstance(node, ast.Attribute) else ""


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


# Which statement


def _candidates(call: Call, statements: list[Found], sources: list[Source]) -> list[Found]:
    by_home: defaultdict[tuple[str, str], list[Found]] = defaultdict(list)
    for found in statements:
        by_home[found.source.module.__name__, found.constant].append(found)
    constants = {
        (name, found.inside): found
        for name, home in _visible(call.source, sources).items()
        for found in by_home.get(home, ())
    }
    chosen: dict[str, Found] = {}
    for value in _values(call.statement, call.function, call.source):
        for found in _named(value, constants):
            chosen[found.subject] = found
    return list(chosen.values())


def _visible(source: Source, sources: Iterable[Source]) -> dict[str, tuple[str, str]]:
    """The global names of a module: the module that assigns each, and its name there."""
    homes = {one.module.__name__: one for one in sources}
    names = {name: (source.module.__name__, name) for name in vars(source.module)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module in homes:
            for alias in node.names:
                names[alias.asname or alias.name] = (node.module, alias.name)
    return names


def _values(
    node: ast.expr, function: ast.AST, source: Source, seen: frozenset[object] = frozenset()
) -> Iterator[ast.expr]:
    """What an expression may stand for.

    That is each arm of a choice, each part of a tuple, each value that the function assigns to a
    variable, and each value that a function of the module returns. Anything else stands for itself.
    """
    match node:
        case ast.IfExp():
            inner = [node.body, node.orelse]
        case ast.Tuple():  # of which one part is the statement
            inner = node.elts
        case ast.Name() if assigned := _assigned(node.id, function):
            key = (function, node.id)
            inner = assigned if key not in seen else []
            seen |= {key}
        case ast.Attribute():  # of a container
            for value in _values(node.value, function, source, seen):
                yield ast.Attribute(value, node.attr)
            return
        case ast.Call(func=ast.Name(name)):
            for called in _functions(name, source) if name not in seen else ():
                for value in _returned(called):
                    yield from _values(value, called, source, seen | {name})
            return
        case _:
            yield node
            return
    for one in inner:
        yield from _values(one, function, source, seen)


def _assigned(name: str, function: ast.AST) -> list[ast.expr]:
    """What the function assigns to the variable, anywhere: alone, or with others as a tuple."""
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        for part in (target.elts if isinstance(target, ast.Tuple) else [target])
        if ast.unparse(part) == name
    ]


def _functions(name: str, source: Source) -> list[ast.FunctionDef]:
    return [
        node for node in source.tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    ]


def _returned(function: ast.FunctionDef) -> list[ast.expr]:
    return [
        node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value
    ]


def _named(node: ast.expr, constants: dict[tuple[str, str], Found]) -> list[Found]:
    """The statements that an expression names: all of a dict or sequence, one of a patch."""
    match node:
        case ast.Call(func=ast.Attribute(ast.Name(name), "statement")):  # of a patch
            inside = ""
        case ast.Attribute(ast.Name(name), attribute):
            inside = f".{attribute}"
        case ast.Subscript(ast.Name(name)) | ast.Name(name):
            return [found for (constant, _), found in constants.items() if constant == name]
        case _:
            return []
    return [constants[name, inside]] if (name, inside) in constants else []


def _imported(source: Source) -> set[str]:
    return {
        node.module
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module
    }


# What it takes


def _check_verb(
    call: Call, found: Found, writes: dict[str, bool], rows: dict[str, bool]
) -> Iterator[Fault]:
    if found.subject not in writes or call.verb == _PATCH:
        return
    must_write, must_return = _VERBS[call.verb]
    if writes[found.subject] != must_write:
        does = "writes" if writes[found.subject] else "only reads"
        yield Fault(call.place, found.subject, "verb", f"it {does}, but `{call.verb}` runs it")
    if must_return and not rows[found.subject] and not _is_dropped(call):
        problem = f"it returns no rows, but `{call.verb}` runs it; add RETURNING"
        yield Fault(call.place, found.subject, "verb", problem)
    if call.verb == "insert_many" and rows[found.subject]:
        problem = "it returns rows, which `insert_many` would drop; leave out RETURNING"
        yield Fault(call.place, found.subject, "verb", problem)


def _is_dropped(call: Call) -> bool:
    """`write_one` without looking at the result is a way to run without a savepoint of its own."""
    return call.verb in {"write_one", "write_all"} and any(
        isinstance(node, ast.Expr) and node.value is call.node for node in ast.walk(call.function)
    )


def _check_binds(call: Call, found: Found, sources: list[Source]) -> Iterator[Fault]:
    given = {keyword.arg for keyword in call.node.keywords if keyword.arg}
    # Of rows that come as a list, as of `**`, only the spelling of the keys can be looked at.
    is_open = call.verb == "insert_many" or any(one.arg is None for one in call.node.keywords)
    value = found.value
    if isinstance(value, Patch):
        yield from _check_patch(call, found, value, given)
        return
    wanted = {name for name in bind_names(value.text) if name not in ENGINE_BINDS}
    for name in sorted(given - wanted):
        yield Fault(call.place, found.subject, "binds", f"it has no bind :{name}")
    missing = wanted - given
    if is_open:
        missing -= _spoken(call.source, sources)
    for name in sorted(missing):
        yield Fault(call.place, found.subject, "binds", f"its bind :{name} is not given")


def _check_patch(call: Call, found: Found, patch: AnyPatch, given: set[str]) -> Iterator[Fault]:
    plain = set(bind_names(patch.statement({}, False).text)) - ENGINE_BINDS
    whole = (
        set(bind_names(patch.statement(dict.fromkeys(known_keys(patch)), True).text)) - ENGINE_BINDS
    )
    wanted = plain if call.verb != _PATCH else {"id"}
    if call.verb == _PATCH:
        given = {"id", "if_updated_at"}
        if "if_updated_at" not in whole:
            problem = "it has no /*unchanged*/, so `if_updated_at` would be ignored"
            yield Fault(call.place, found.subject, "binds", problem)
    for name in sorted(set(known_keys(patch)) - whole):
        yield Fault(call.place, found.subject, "binds", f"the key {name} is never assigned")
    for name in sorted((plain | wanted) - given):
        yield Fault(call.place, found.subject, "binds", f"its bind :{name} is not given")
    for name in sorted(given - whole - {"if_updated_at"}):
        yield Fault(call.place, found.subject, "binds", f"it has no bind :{name}")


def _spoken(source: Source, sources: Iterable[Source]) -> set[str]:
    """Every text that is an identifier, and every key of a class body, in reach of the module."""
    reachable = {source.module.__name__, *_imported(source)}
    words: set[str] = set()
    for one in sources:
        if one.module.__name__ not in reachable:
            continue
        for node in ast.walk(one.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            elif isinstance(node, ast.ClassDef) and "TypedDict" in map(ast.unparse, node.bases):
                words |= {
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                }
    return words
