"""Take apart a SELECT that a person made up, and the values that come with it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import cast

from cwstore.core.checks import is_integer, to_micros
from cwstore.core.lexer import Statement, Token, UnfinishedTextError, split, tokens
from cwstore.errors import InvalidValueError

_READING = ("SELECT", "WITH", "VALUES", "EXPLAIN")


def one_query(sql: object) -> Statement:
    """The statement. Raises InvalidValueError if it is none, or more than one, or does not read."""
    if not isinstance(sql, str):
        raise InvalidValueError("sql", f"expected str, got {type(sql).__name__}")
    try:
        statements = split(sql)
    except UnfinishedTextError as error:
        raise InvalidValueError("sql", f"line {error.line}: {error}") from None
    if len(statements) != 1:
        raise InvalidValueError("sql", f"expected one statement, got {len(statements)}")
    if statements[0].first_word not in _READING:
        raise InvalidValueError("sql", f"expected a query: {', '.join(_READING)}")
    return statements[0]


def query_values(text: str, binds: Mapping[str, object]) -> dict[str, object]:
    """The binds as a database takes them. Each must be in the text, and the other way round."""
    written = [token.text for token in cut_query(text) if token.kind == "bind"]
    named = {name[1:] for name in written if name.startswith(":")}
    if len(named) < len(set(written)):
        raise InvalidValueError("sql", "binds are written as :name")
    for name in sorted(named - binds.keys()):
        raise InvalidValueError(name, "this bind has no value")
    for name in sorted(binds.keys() - named):
        raise InvalidValueError(name, "no bind of this name is in the SQL")
    return {name: _value(name, value) for name, value in binds.items()}


def _value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return to_micros(name, value)
    if isinstance(value, Enum):
        value = cast("object", value.value)
    if is_integer(value) and not -(2**63) <= value < 2**63:
        raise InvalidValueError(name, "does not fit into 64 bits")
    if isinstance(value, float) and value - value != 0:  # SQLite would make NULL of NaN
        raise InvalidValueError(name, "must be a finite number")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # carries the text: it is not chained
            pass
        else:
            return str(value)
        raise InvalidValueError(name, "contains a lone surrogate, which is not text")
    if value is not None and not isinstance(value, int | float | bytes):
        raise InvalidValueError(name, f"a database has no value for {type(value).__name__}")
    return value


def cut_query(text: str) -> Iterator[Token]:
    """Its tokens; the type of a cast, `::text`, is no bind."""
    before = ""
    for token in tokens(text):
        is_cast = token.kind == "bind" and before == ":" and token.text[0] == ":"
        yield Token("word", token.text, token.line) if is_cast else token
        before = token.text
