"""Read just enough of a statement to tell which of its result columns can be NULL.

The answer is "unknown" (None) for outer joins, aggregates, scalar subqueries and expressions. An
author who knows better says so in the statement, at the end of the expression:
`max(seq) /* never NULL: the agent has a chunk, see WHERE */`.
"""

from itertools import pairwise
from typing import NamedTuple

from cwstore.core.lexer import Token, spoken, tokens
from cwstore.testing.checker.schema import Schema
from cwstore.testing.checker.words import (
    at_top,
    bracket,
    clause,
    is_literal,
    name_of,
    split_at,
    up_to_bracket,
    upper,
)

#: Of a column: True if it may be NULL, False if never, None if nobody knows.
Nullness = bool | None
Columns = dict[str, Nullness]

_COMPOUND = {"UNION", "INTERSECT", "EXCEPT"}
_AFTER_ITEMS = {"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT"}
_AFTER_FROM = _AFTER_ITEMS - {"FROM"}
_JOIN_WORDS = {"LEFT", "RIGHT", "FULL", "OUTER", "INNER", "CROSS", "NATURAL", "JOIN"}
_MARK = "never NULL"
#: Functions that give NULL for NULL and for nothing else.
_KEEPING = {"ABS", "LENGTH", "LOWER", "OCTET_LENGTH", "UPPER"}
_AGGREGATES = {"AVG", "COUNT", "GROUP_CONCAT", "MAX", "MIN", "STRING_AGG", "SUM", "TOTAL"}
_SUBQUERY = {"SELECT", "WITH", "VALUES"}


class Source(NamedTuple):
    """A table, view, subquery or the like in FROM; without columns nothing is known of it."""

    alias: str
    columns: Columns


def result_columns(text: str, schema: Schema) -> list[Nullness]:
    """For each result column whether it can be NULL; [] if there is no telling how many."""
    words = [token for token in tokens(text) if token.kind != "space"]
    return [nullness for _, nullness in _query(words, {}, schema)]


def made_names(text: str) -> set[str]:
    """The names that WITH clauses give to interim results, at any depth."""
    words = [upper(token) for token in spoken(text)]
    originals = [name_of(token) for token in spoken(text)]
    names: set[str] = set()
    for position, word in enumerate(words[:-1]):
        if word == "AS" and words[position + 1] in {"(", "MATERIALIZED", "NOT"}:
            before = position - 1
            if words[before] == ")":
                while words[before] != "(":
                    before -= 1
                before -= 1
            names.add(originals[before])
    return names


def _query(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> list[tuple[str, Nullness]]:
    words = words[next((i for i, token in enumerate(words) if token.kind != "comment"), 0) :]
    if upper(words[0]) == "WITH":
        words, scope = _with(words, scope, schema)
    verb = upper(words[0])
    if verb == "SELECT":
        return _select(words, scope, schema)
    items = clause(words, "RETURNING", set())
    if verb == "VALUES" or not items:
        return []
    before_name = {"UPDATE": "UPDATE", "DELETE": "FROM"}.get(verb, "INTO")
    target = name_of(clause(words, before_name, set())[0])
    return _items(items, [Source(target, _declared(target, schema))])


def _with(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> tuple[list[Token], dict[str, Columns]]:
    """The statement after its WITH clause, and the scope with the names that it made."""
    scope = dict(scope)
    position = 2 if upper(words[1]) == "RECURSIVE" else 1
    while True:
        header: list[str] = []
        while upper(words[position]) != "AS":
            if words[position].kind in {"word", "text"}:
                header.append(name_of(words[position]))
            position += 1
        name, *names = header
        while words[position].text != "(":
            position += 1
        body, position = bracket(words, position)
        columns = _query(body, scope, schema)
        if any(name_of(token) == name for token in body):
            columns = [(column, None) for column, _ in columns]
        if names:
            columns = [(names[i], nullness) for i, (_, nullness) in enumerate(columns)]
        scope[name] = dict(columns)
        if words[position].text != ",":
            return words[position:], scope
        position += 1


def _select(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> list[tuple[str, Nullness]]:
    if any(upper(token) in _COMPOUND for _, token in at_top(words)):
        return _compound(words, scope, schema)
    items = clause(words, "SELECT", _AFTER_ITEMS)
    if items and upper(items[0]) in {"DISTINCT", "ALL"}:
        items = items[1:]
    sources = _sources(clause(words, "FROM", _AFTER_FROM), scope, schema)
    if _beside_aggregates(words) is not None:
        sources = [_unsure(source) for source in sources]
    return _items(items, sources)


def _compound(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> list[tuple[str, Nullness]]:
    """The columns of SELECTs that UNION and the like join: never NULL if no arm's can be.

    Of the marks those of the first arm count, but with a star in it they do not line up.
    """
    marks = map(_is_marked, split_at(clause(words, "SELECT", _AFTER_ITEMS | _COMPOUND), ","))
    sure = dict(enumerate(marks)) if not any(token.text == "*" for token in words) else {}
    ends = [i for i, token in at_top(words) if upper(token) in _COMPOUND]
    arms = [words[start + 1 : end] for start, end in pairwise([-1, *ends, len(words)])]
    arms = [arm[1:] if upper(arm[0]) == "ALL" else arm for arm in arms]
    first, *others = [_query(arm, scope, schema) for arm in arms]
    columns: list[tuple[str, Nullness]] = []
    for place, (name, nullness) in enumerate(first):
        parts = [nullness, *(other[place][1] if other else None for other in others)]
        columns.append(
            (name, False if sure.get(place) or parts.count(False) == len(parts) else None)
        )
    return columns


def _beside_aggregates(select: list[Token]) -> list[Token] | None:
    """What stands beside the aggregates of a SELECT without GROUP BY; None if it has no aggregate.

    Such a SELECT returns one row. If it reads no rows, these columns are NULL.
    """
    if clause(select, "GROUP", _AFTER_FROM):
        return None
    items = clause(select, "SELECT", _AFTER_ITEMS)
    beside: list[Token] = []
    found = False
    position = 0
    while position < len(items):
        end = position + 1
        if _is_call(items, position, _SUBQUERY):
            end = bracket(items, position)[1]
        elif (after := _end_of_aggregate(items, position)) != position:
            found, end = True, after
        else:
            beside.append(items[position])
        position = end
    return beside if found else None


def _is_call(words: list[Token], position: int, inside: set[str]) -> bool:
    start = [upper(token) for token in words[position : position + 2]]
    return start[0] == "(" and start[1] in inside


def _end_of_aggregate(items: list[Token], start: int) -> int:
    """The position after the call of an aggregate that starts here; else `start`."""
    texts = [upper(token) for token in items]
    if texts[start] not in _AGGREGATES or texts[start + 1 : start + 2] != ["("]:
        return start
    given, end = bracket(items, start + 1)
    if texts[end : end + 1] == ["FILTER"]:
        end = bracket(items, end + 1)[1]
    is_plain = texts[start] in {"MAX", "MIN"} and len(split_at(given, ",")) > 1
    return start if is_plain or texts[end : end + 1] == ["OVER"] else end


def bare_columns(text: str, schema: Schema) -> list[str]:
    """The columns of tables that stand beside an aggregate, without a GROUP BY."""
    words = list(spoken(text))
    found: list[str] = []
    for start, token in enumerate(words):
        if upper(token) != "SELECT":
            continue
        select = up_to_bracket(words[start:])
        compound = (i for i, one in at_top(select) if upper(one) in _COMPOUND)
        select = select[: next(compound, len(select))]
        beside = _beside_aggregates(select) or []
        sources = _sources(clause(select, "FROM", _AFTER_FROM), {}, schema)
        known = {column for source in sources for column in source.columns}
        found += [
            name_of(one)
            for before, one in pairwise([token, *beside])
            if name_of(one) in known and upper(before) != "AS" and not is_literal(one)
        ]
    return found


def _declared(name: str, schema: Schema) -> Columns:
    if name in schema.views:
        words = [token for token in tokens(schema.views[name]) if token.kind != "space"]
        body = clause(words, "AS", set())
        return dict(_query(body, {}, schema))
    columns = schema.tables.get(name, {})
    return {column: not declared.not_null for column, declared in columns.items()}


def _sources(words: list[Token], scope: dict[str, Columns], schema: Schema) -> list[Source]:
    sources: list[Source] = []
    joins: set[str] = set()
    start = 0
    ends = [i for i, token in at_top(words) if upper(token) in _JOIN_WORDS or token.text == ","]
    for end in [*ends, len(words)]:
        if words[start:end]:
            source = _source(words[start:end], scope, schema)
            if joins & {"LEFT", "FULL"}:
                source = _unsure(source)
            if joins & {"RIGHT", "FULL"}:
                sources = [_unsure(one) for one in sources]
            sources.append(source)
            joins = set()
        if end < len(words):
            joins.add(upper(words[end]))
        start = end + 1
    return sources


def _unsure(source: Source) -> Source:
    return Source(source.alias, dict.fromkeys(source.columns))


def _source(words: list[Token], scope: dict[str, Columns], schema: Schema) -> Source:
    position = 1
    columns: Columns
    if words[0].text == "(":
        body, position = bracket(words, 0)
        is_query = upper(body[0]) in {"SELECT", "WITH"}
        columns = dict(_query(body, scope, schema)) if is_query else {}
    else:
        name = name_of(words[0])
        columns = scope[name] if name in scope else _declared(name, schema)
        if len(words) > 1 and words[1].text == "(":
            columns, position = {}, bracket(words, 1)[1]
    rest = [token for token in words[position:] if upper(token) != "AS"]
    is_alias = bool(rest) and rest[0].kind in {"word", "text"}
    is_alias = is_alias and upper(rest[0]) not in {"ON", "USING"}
    return Source(name_of(rest[0] if is_alias else words[0]), columns)


def _items(words: list[Token], sources: list[Source]) -> list[tuple[str, Nullness]]:
    columns: list[tuple[str, Nullness]] = []
    for item in split_at(words, ","):
        said = [token for token in item if token.kind != "comment"]
        if said[-1].text == "*":
            wanted = [one for one in sources if len(said) == 1 or one.alias == name_of(said[0])]
            if not all(one.columns for one in wanted):
                return []
            columns += [pair for one in wanted for pair in one.columns.items()]
            continue
        expression, name = said, name_of(said[-1])
        if len(said) > 2 and upper(said[-2]) == "AS":
            expression = said[:-2]
        columns.append((name, False if _is_marked(item) else _nullness(expression, sources)))
    return columns


def _is_marked(item: list[Token]) -> bool:
    return any(token.kind == "comment" and _MARK in token.text for token in item)


def _nullness(words: list[Token], sources: list[Source]) -> Nullness:
    texts = [upper(token) for token in words]
    if is_literal(words[-1]) and (len(words) == 1 or texts[:-1] == ["-"]):
        return False
    if len(words) == 1 or (len(words) == 3 and texts[1] == "."):
        column = name_of(words[-1])
        holders = [
            one.columns
            for one in sources
            if (len(words) == 1 or one.alias == name_of(words[0]))
            and (not one.columns or column in one.columns)
        ]
        return holders[0].get(column) if len(holders) == 1 else None
    if "(" not in texts[1:3] or bracket(words, texts.index("("))[1] != len(words):
        return None
    if texts[0] in _KEEPING and len(words) > 3:
        return _nullness(words[2:-1], sources)
    if texts[0] in {"COUNT", "EXISTS"} or texts[:2] == ["NOT", "EXISTS"]:
        return False
    if texts[0] != "COALESCE":
        return None
    arms = [_nullness(arm, sources) for arm in split_at(words[2:-1], ",")]
    return False if False in arms else None
