"""Cut the tokens of a statement at its keywords, commas and brackets."""

from collections.abc import Iterator
from itertools import pairwise

from cwstore.core.lexer import Token

_QUOTES = '"`['


def upper(token: Token) -> str:
    """The keyword, or whatever it is."""
    return token.text.upper() if token.kind == "word" else token.text


def name_of(token: Token) -> str:
    """The name that a token stands for: the quotes around a name are none of it."""
    is_quoted = token.kind == "text" and token.text[0] in _QUOTES
    return token.text[1:-1] if is_quoted else token.text


def is_literal(token: Token) -> bool:
    """A number, a text or a blob; what stands in double quotes is a name."""
    return token.kind == "number" or (token.kind == "text" and token.text[0] not in _QUOTES)


def text_of(literal: Token) -> str:
    """The value of a literal, as text."""
    is_text = literal.text.startswith("'")
    return literal.text[1:-1].replace("''", "'") if is_text else literal.text


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


def bracket(words: list[Token], start: int) -> tuple[list[Token], int]:
    """What stands in the bracket that opens at `start`, and the position after it."""
    depth, end = 1, start + 1
    while depth:
        depth += {"(": 1, ")": -1}.get(words[end].text, 0)
        end += 1
    return words[start + 1 : end - 1], end


def up_to_bracket(words: list[Token]) -> list[Token]:
    """The tokens before the one that closes a bracket which was opened earlier."""
    depth = 0
    for position, token in enumerate(words):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            return words[:position]
    return words


def aliases(words: list[Token], known: set[str]) -> dict[str, str]:
    """The other names of known tables: alias -> table."""
    bare = [token for token in words if upper(token) != "AS"]
    return {
        name_of(alias): name_of(table)
        for table, alias in pairwise(bare)
        if name_of(table) in known and alias.kind in {"word", "text"}
    }
