"""Read just enough of a statement to tell which of its result columns can be NULL.

Where it is not sure, the answer is "unknown" (None): outer joins, aggregates, scalar subqueries,
arms of UNION and expressions. The author of a statement who knows better says so in its text, at
the end of the expression: `max(seq) /* never NULL: the agent has a chunk, see WHERE */`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from cwstore._tokens import Token, tokens
from cwstore.testing._schema import Schema

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


class Source(NamedTuple):
    """A table, view, subquery or the like in FROM; without columns nothing is known of it."""

    alias: str
    columns: Columns


def result_columns(text: str, schema: Schema) -> list[Nullness]:
    """For each result column whether it can be NULL; [] if there is no telling how many."""
    words = [token for token in tokens(text) if token.kind != "space"]
    return [nullness for _, nullness in _query(words, {}, schema)]


def upper(token: Token) -> str:
    """The keyword, or whatever it is."""
    return token.text.upper() if token.kind == "word" else token.text


def at_top(words: list[Token]) -> Iterator[tuple[int, Token]]:
    """The tokens that stand in no bracket, with their positions."""
    depth = 0
    for position, token in enumerate(words):
        if token.text == ")":
            depth -= 1
        if depth == 0:
            yield position, token
        if token.text == "(":
            depth += 1


def split_at(words: list[Token], separator: str) -> list[list[Token]]:
    """The parts between separators that stand in no bracket."""
    parts: list[list[Token]] = []
    start = 0
    for position, token in at_top(words):
        if upper(token) == separator:
            parts.append(words[start:position])
            start = position + 1
    return [*parts, words[start:]]


def clause(words: list[Token], first: str, ends: set[str]) -> list[Token]:
    """What follows the keyword up to one of the others, all in no bracket; [] without it."""
    start = None
    for position, token in at_top(words):
        if start is not None and upper(token) in ends:
            return words[start:position]
        if start is None and upper(token) == first:
            start = position + 1
    return [] if start is None else words[start:]


def made_names(text: str) -> set[str]:
    """The names that WITH clauses give to interim results, at any depth."""
    words = [upper(token) for token in tokens(text) if token.kind not in {"space", "comment"}]
    originals = [token.text for token in tokens(text) if token.kind not in {"space", "comment"}]
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
    before_name = {"INSERT": "INTO", "UPDATE": "UPDATE", "DELETE": "FROM"}.get(verb, "INTO")
    target = clause(words, before_name, set())[0].text
    return _items(items, [Source(target, _declared(target, schema))])


def _with(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> tuple[list[Token], dict[str, Columns]]:
    """The statement after its WITH clause, and the scope with the names that it made."""
    scope = dict(scope)
    position = 2 if upper(words[1]) == "RECURSIVE" else 1
    while True:
        name = words[position].text
        names: list[str] = []
        position += 1
        while upper(words[position]) != "AS":
            if words[position].kind == "word":
                names.append(words[position].text)
            position += 1
        while words[position].text != "(":
            position += 1
        body, position = _bracket(words, position)
        columns = _query(body, scope, schema)
        if any(token.text == name for token in body):
            columns = [(column, None) for column, _ in columns]
        if names:
            columns = [(names[i], nullness) for i, (_, nullness) in enumerate(columns)]
        scope[name] = dict(columns)
        if words[position].text != ",":
            return words[position:], scope
        position += 1


def _bracket(words: list[Token], start: int) -> tuple[list[Token], int]:
    """What stands in the bracket that opens at `start`, and the position after it."""
    depth, end = 1, start + 1
    while depth:
        depth += {"(": 1, ")": -1}.get(words[end].text, 0)
        end += 1
    return words[start + 1 : end - 1], end


def _select(
    words: list[Token], scope: dict[str, Columns], schema: Schema
) -> list[tuple[str, Nullness]]:
    compound = next((i for i, token in at_top(words) if upper(token) in _COMPOUND), None)
    if compound is not None:
        marks = map(_is_marked, split_at(clause(words, "SELECT", _AFTER_ITEMS | _COMPOUND), ","))
        first = _select(words[:compound], scope, schema)
        # With a star the marks do not line up, and nothing is known.
        sure = dict(enumerate(marks)) if not any(token.text == "*" for token in words) else {}
        return [(name, False if sure.get(i) else None) for i, (name, _) in enumerate(first)]
    items = clause(words, "SELECT", _AFTER_ITEMS)
    if items and upper(items[0]) in {"DISTINCT", "ALL"}:
        items = items[1:]
    return _items(items, _sources(clause(words, "FROM", _AFTER_FROM), scope, schema))


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
        body, position = _bracket(words, 0)
        columns = dict(_query(body, scope, schema)) if upper(body[0]) in {"SELECT", "WITH"} else {}
    else:
        name = words[0].text
        columns = scope[name] if name in scope else _declared(name, schema)
        if len(words) > 1 and words[1].text == "(":
            columns, position = {}, _bracket(words, 1)[1]
    rest = [token for token in words[position:] if upper(token) != "AS"]
    has_alias = bool(rest) and rest[0].kind == "word" and upper(rest[0]) not in {"ON", "USING"}
    return Source(rest[0].text if has_alias else words[0].text, columns)


def _items(words: list[Token], sources: list[Source]) -> list[tuple[str, Nullness]]:
    columns: list[tuple[str, Nullness]] = []
    for item in split_at(words, ","):
        spoken = [token for token in item if token.kind != "comment"]
        if spoken[-1].text == "*":
            wanted = [one for one in sources if len(spoken) == 1 or one.alias == spoken[0].text]
            if not all(one.columns for one in wanted):
                return []
            columns += [pair for one in wanted for pair in one.columns.items()]
            continue
        expression, name = spoken, spoken[-1].text
        if len(spoken) > 2 and upper(spoken[-2]) == "AS":
            expression = spoken[:-2]
        columns.append((name, False if _is_marked(item) else _nullness(expression, sources)))
    return columns


def _is_marked(item: list[Token]) -> bool:
    return any(token.kind == "comment" and _MARK in token.text for token in item)


def _nullness(words: list[Token], sources: list[Source]) -> Nullness:
    texts = [upper(token) for token in words]
    if len(words) == 1 and words[0].kind in {"number", "text"}:
        return False
    if len(words) == 1 or (len(words) == 3 and texts[1] == "."):
        column = words[-1].text
        holders = [
            one.columns
            for one in sources
            if (len(words) == 1 or one.alias == words[0].text)
            and (not one.columns or column in one.columns)
        ]
        return holders[0].get(column) if len(holders) == 1 else None
    if "(" not in texts[1:3] or _bracket(words, texts.index("("))[1] != len(words):
        return None
    if texts[0] in _KEEPING and len(words) > 3:
        return _nullness(words[2:-1], sources)
    if texts[0] in {"COUNT", "EXISTS"} or texts[:2] == ["NOT", "EXISTS"]:
        return False
    is_sure = texts[0] == "COALESCE" and words[-2].kind in {"number", "text"}
    return False if is_sure and texts[-3] == "," else None
