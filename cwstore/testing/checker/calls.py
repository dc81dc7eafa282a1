"""Match the call sites with the statements: `self._db.fetch_one(_FIND_BY_ID, id=id)`.

The source is read, not run. A call may name its statement through a local variable, a choice
(`_A if x else _B`) or a container (`choice.find`, `_BY_KEY[key]`): each candidate must then take
the keywords. What comes in through `**` is unknown: the binds that are not written out must at
least occur as text, or as a key of a TypedDict, in the module or in one that it imports from.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from cwstore.core.statement import Patch, bind_names
from cwstore.testing.checker.found import AnyPatch, Found, Source, known_keys
from cwstore.testing.checker.report import Fault

#: Methods of the port that take a statement: whether it must write, whether it must return rows.
_VERBS = {
    "fetch_one": (False, True),
    "fetch_all": (False, True),
    "insert": (True, True),
    "write_one": (True, True),
    "write_all": (True, True),
    "execute": (True, False),
    "insert_many": (True, False),
}
_PATCH = "patch_row"  # the function that runs a patch; the database is its first argument
_DEEPEST = 8  # steps from a call to where its statement is named


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
    kept = {id(one.value.find) for one in statements if isinstance(one.value, Patch)}
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
            if verb == _PATCH and len(node.args) > 1:
                yield Call(source, function, node, verb, node.args[1])
            elif isinstance(node.func, ast.Attribute) and verb in _VERBS:
                receiver = _name_of(node.func.value)
                if receiver in {"_db", "db"}:
                    yield Call(source, function, node, verb, node.args[0])


# Which statement


def _candidates(call: Call, statements: list[Found], sources: list[Source]) -> list[Found]:
    by_home: defaultdict[tuple[str, str], list[Found]] = defaultdict(list)
    for found in statements:
        by_home[found.source.module.__name__, found.constant].append(found)
    named = {
        (name, found.inside): found
        for name, home in _visible(call.source, sources).items()
        for found in by_home.get(home, ())
    }
    chosen: dict[str, Found] = {}
    for expression in _resolved(call.statement, call.function, call.node, call.source):
        for found in _meant(expression, named, call, statements):
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


def _resolved(
    node: ast.expr, function: ast.AST, before: ast.expr, source: Source, depth: int = 0
) -> Iterator[ast.expr]:
    """What an expression may stand for: arms of a choice, values of a variable or parameter."""
    if depth > _DEEPEST:
        return
    if isinstance(node, ast.IfExp):
        for arm in (node.body, node.orelse):
            yield from _resolved(arm, function, before, source, depth + 1)
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield from _returned(node.func.id, source, depth)
        return
    passed = list(_passed(node, function, source))
    values = [(value, function) for value in _local_values(node, function, before)] or passed
    if not values:
        yield node
    for value, home in values:
        yield from _resolved(value, home, value, source, depth + 1)


def _returned(name: str, source: Source, depth: int) -> Iterator[ast.expr]:
    """What a function of the module returns, part by part."""
    for function in _functions(source):
        if function.name != name:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value:
                parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                for part in parts:
                    yield from _resolved(part, function, part, source, depth + 1)


def _passed(
    node: ast.expr, function: ast.AST, source: Source
) -> Iterator[tuple[ast.expr, ast.AST]]:
    """What the calls within the module give for a parameter, with the calling functions."""
    if not isinstance(node, ast.Name) or not isinstance(function, ast.FunctionDef):
        return
    names = [argument.arg for argument in function.args.args]
    if node.id not in names:
        return
    position = names.index(node.id) - (names[0] == "self")
    for caller in _functions(source):
        for call in ast.walk(caller):
            if isinstance(call, ast.Call) and _name_of(call.func) == function.name:
                yield from ((one.value, caller) for one in call.keywords if one.arg == node.id)
                if position < len(call.args):
                    yield call.args[position], caller


def _functions(source: Source) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _local_values(node: ast.expr, function: ast.AST, before: ast.expr) -> Iterator[ast.expr]:
    """What the function assigns to the variable: the last time above in the same block, or all."""
    above: list[tuple[ast.stmt, ast.expr]] = []
    for statement in ast.walk(function) if isinstance(node, ast.Name) else ():
        if isinstance(statement, ast.Assign) and statement.lineno <= before.lineno:
            names = {ast.unparse(part) for target in statement.targets for part in _parts(target)}
            if ast.unparse(node) in names and before is not statement.value:
                above.append((statement, statement.value))
    above.sort(key=lambda pair: pair[0].lineno)
    if above and _same_block(function, above[-1][0], before):
        above = above[-1:]
    yield from (value for _, value in above)


def _parts(target: ast.expr) -> list[ast.expr]:
    return target.elts if isinstance(target, ast.Tuple) else [target]


def _same_block(function: ast.AST, statement: ast.stmt, expression: ast.expr) -> bool:
    """Whether the statement runs always when the expression is reached."""
    blocks = (
        cast("list[ast.stmt]", body)
        for node in ast.walk(function)
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
        if isinstance(body, list)
    )
    return any(
        expression in ast.walk(one) for block in blocks if statement in block for one in block
    )


def _meant(
    node: ast.expr, named: dict[tuple[str, str], Found], call: Call, statements: list[Found]
) -> Iterator[Found]:
    if isinstance(node, ast.Call):  # _UPDATE.statement(keys, checked=False)
        is_patch = isinstance(node.func, ast.Attribute) and node.func.attr == "statement"
        node = node.func.value if is_patch and isinstance(node.func, ast.Attribute) else node
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield from (found for (name, _), found in named.items() if name == node.id)
    elif isinstance(node, ast.Attribute):
        exact = named.get((ast.unparse(node.value), f".{node.attr}"))
        if exact:
            yield exact
            return
        # Of a container that came from elsewhere only the field is known.
        reachable = {call.source.module.__name__, *_imported(call.source)}
        for found in statements:
            if found.inside.endswith(f".{node.attr}") and found.source.module.__name__ in reachable:
                yield found


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
    """`write` without looking at the result is a way to run without a savepoint of its own."""
    return call.verb in {"write", "write_all"} and any(
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
    wanted = {name for name in bind_names(value.text) if name != "now"}
    for name in sorted(given - wanted):
        yield Fault(call.place, found.subject, "binds", f"it has no bind :{name}")
    missing = wanted - given
    if is_open:
        missing -= _spoken(call.source, sources)
    for name in sorted(missing):
        yield Fault(call.place, found.subject, "binds", f"its bind :{name} is not given")


def _check_patch(call: Call, found: Found, patch: AnyPatch, given: set[str]) -> Iterator[Fault]:
    plain = set(bind_names(patch.statement({}, False).text)) - {"now"}
    whole = set(bind_names(patch.statement(dict.fromkeys(known_keys(patch)), True).text)) - {"now"}
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
