"""Words outside of the SQL that SQLite and PostgreSQL share and understand alike."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import apsw

from cwstore.core.lexer import Token, spoken
from cwstore.testing.checker.reading import bare_columns
from cwstore.testing.checker.schema import Schema
from cwstore.testing.checker.words import bracket, split_at, upper

#: Functions that both engines have, with the same meaning.
_FUNCTIONS = frozenset(
    {
        *("abs", "ceil", "ceiling", "exp", "floor", "ln", "mod", "power", "round", "sign", "sqrt"),
        *(
            "length",
            "lower",
            "ltrim",
            "octet_length",
            "replace",
            "rtrim",
            "substr",
            "trim",
            "upper",
        ),
        *("avg", "coalesce", "count", "json_valid", "max", "min", "nullif", "sum"),
        *(
            "cume_dist",
            "dense_rank",
            "first_value",
            "lag",
            "last_value",
            "lead",
            "nth_value",
            "ntile",
        ),
        *("percent_rank", "rank", "row_number"),
    }
)
_TABLE_FUNCTIONS = {"json_each"}
_WORDS = {
    "COLLATE": "leave out COLLATE: the engines have other collations",
    "FALSE": "write 0",
    "GLOB": "compare otherwise: GLOB is SQLite's",
    "INDEXED": "leave out INDEXED BY",
    "ISNULL": "write IS NULL",
    "LIKE": "compare otherwise: LIKE minds the case in PostgreSQL only",
    "MATCH": "compare otherwise: MATCH is SQLite's",
    "NOTNULL": "write IS NOT NULL",
    "OID": "use a column of the table",
    "REGEXP": "compare otherwise: REGEXP is SQLite's",
    "ROWID": "use a column of the table",
    "TRUE": "write 1",
    "_ROWID_": "use a column of the table",
}
_STATEMENTS = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
_BEFORE_CONDITION = {"WHERE", "AND", "OR", "NOT", "ON", "HAVING", "WHEN"}
_AFTER_CONDITION = {
    *("AND", "OR", ")", "GROUP", "ORDER", "LIMIT", "RETURNING", "THEN", "HAVING", "WINDOW"),
    *("JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "UNION", "EXCEPT", "INTERSECT", ";", ""),
}
_AFTER_ORDER = {"LIMIT", "OFFSET", "ROWS", "RANGE", "GROUPS", "RETURNING", ";"}


def check_dialect(text: str, info: Any, schema: Schema) -> Iterator[tuple[str, str]]:
    """Everything in a statement that is not in the subset which both engines share."""
    words = list(spoken(text))
    texts = [upper(token) for token in words]
    if texts[0] not in _STATEMENTS:
        yield "dialect", f"a statement begins with {', '.join(sorted(_STATEMENTS))}"
    if info.query_remaining and info.query_remaining.strip():
        yield "dialect", "it is more than one statement; only the first would be prepared"
    for problem in (
        *_words(words, texts),
        *_functions(info, schema),
        *_conditions(words, texts),
        *_orders(words, schema),
        *(
            f"{column}: beside an aggregate without GROUP BY PostgreSQL refuses it"
            for column in bare_columns(text, schema)
        ),
    ):
        yield "dialect", problem


def _words(words: list[Token], texts: list[str]) -> Iterator[str]:
    for position, (token, word) in enumerate(zip(words, texts, strict=True)):
        yield from _spelling(token)
        after = texts[position + 1] if position + 1 < len(texts) else ""
        if token.kind == "word" and word in _WORDS:
            yield f"{word}: {_WORDS[word]}"
        if word in {"INSERT", "UPDATE"} and after == "OR":
            yield f"{word} OR: write ON CONFLICT"
        if word == "IS" and not _may_follow_is(texts[position + 1 : position + 3]):
            yield f"IS {after}: write IS NOT DISTINCT FROM, or IS DISTINCT FROM"
        if word == "REPLACE" and after == "INTO" and position:
            yield "REPLACE INTO: write ON CONFLICT"
        if word == "LIMIT" and after == "-":
            yield "LIMIT below 0: leave it out; only SQLite takes it for no limit"
        if word == "==":
            yield "==: write ="
        is_call = word in {"MAX", "MIN"} and after == "("
        if is_call and len(split_at(bracket(words, position + 1)[0], ",")) > 1:
            yield f"{word}(a, b): write CASE; with two arguments it is SQLite's"
        if word == "LIMIT" and "," in texts[position + 1 : position + 3]:
            yield "LIMIT a, b: write LIMIT and OFFSET"


def _spelling(token: Token) -> Iterator[str]:
    if token.kind == "bind" and not token.text.startswith(":"):
        yield f"{token.text}: write a bind with a name, :like_this"
    if token.kind == "text" and token.text[0] in "`[":
        yield f"{token.text}: leave out the quotes, or write them double"
    if token.kind == "text" and token.text[0] in "xX":
        yield f"{token.text}: bind it; to PostgreSQL it is a row of bits"


def _may_follow_is(texts: list[str]) -> bool:
    first = texts[1:] if texts[:1] == ["NOT"] else texts
    return first[:1] == ["NULL"] or first[:1] == ["DISTINCT"]


def _functions(info: Any, schema: Schema) -> Iterator[str]:
    """Functions of the statement itself: a view or trigger is DDL and may use its engine's own."""
    ddl = {*schema.views, *schema.triggers}
    for action in info.actions:
        if action.trigger_or_view in ddl:
            continue
        if action.action == apsw.SQLITE_FUNCTION:
            name = action.function_name.lower()
            if name not in _FUNCTIONS and name not in {"like", "glob"}:
                yield f"{name}: not a function of both engines"
        elif action.action == apsw.SQLITE_READ:
            name = action.table_name.lower()
            if name not in _TABLE_FUNCTIONS and _is_function(name, action.table_name, schema):
                yield f"{name}: not a table function that is allowed"


def _is_function(name: str, table: str, schema: Schema) -> bool:
    return not schema.columns_of(table) and name.startswith(("json_", "pragma_", "generate_"))


def _conditions(words: list[Token], texts: list[str]) -> Iterator[str]:
    """A bare column, number or bind where a condition stands."""
    between = False
    for position, word in enumerate(texts):
        between = word == "BETWEEN" or (between and word != "AND")
        ends_between = word == "AND" and "BETWEEN" in texts[max(0, position - 4) : position]
        if word not in _BEFORE_CONDITION or ends_between:
            continue
        end = position + 1
        if end < len(words) and words[end].kind in {"word", "number", "bind"}:
            end += 3 if texts[end + 1 : end + 2] == ["."] else 1
            after = texts[end] if end < len(texts) else ""
            start = texts[position + 1]
            if after in _AFTER_CONDITION and start not in {"NULL", "CASE", "EXISTS", "CONFLICT"}:
                bare = "".join(texts[position + 1 : end]).lower()
                yield f"{word} {bare}: compare it, as in {bare} = 1"


def _orders(words: list[Token], schema: Schema) -> Iterator[str]:
    """Columns to order by that may be NULL: the engines put NULL at other ends."""
    for position, (token, after) in enumerate(pairwise(words)):
        if upper(token) != "ORDER" or upper(after) != "BY":
            continue
        for term in split_at(_up_to_end(words[position + 2 :]), ","):
            texts = [upper(one) for one in term]
            name = term[2].text if texts[1:2] == ["."] else term[0].text
            is_column = term[0].kind == "word" and "(" not in texts and texts[0] != "CASE"
            if is_column and "NULLS" not in texts and _may_be_null(name, words, schema):
                yield f"ORDER BY {name}: it may be NULL; write NULLS FIRST or NULLS LAST"


def _up_to_end(words: list[Token]) -> list[Token]:
    depth = 0
    for position, token in enumerate(words):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0 or (depth == 0 and upper(token) in _AFTER_ORDER):
            return words[:position]
    return words


def _may_be_null(name: str, words: list[Token], schema: Schema) -> bool:
    spoken_names = {token.text for token in words}
    return any(
        not columns[name].not_null
        for table, columns in schema.tables.items()
        if table in spoken_names and name in columns
    )
