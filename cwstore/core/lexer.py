"""Cut SQL text into tokens and scripts into statements, the way SQLite itself would.

Of PostgreSQL it knows bodies of functions, `AS $$ ... $$`, and triggers that execute a function:
neither could stand in a script for SQLite.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The alternatives stand in the order in which SQLite's own tokeniser decides.
_TOKEN = re.compile(
    r"""
      (?P<space>   [ \t\n\f\r\ufeff]+ )
    | (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<body>    (?<=[aA][sS][ ])\$\$.*?\$\$ )
    | (?P<text>    [xX]'[^']*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<word>    [A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]* )
    | (?P<number>  0[xX][0-9A-Fa-f_]+
                 | (?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)? )
    | (?P<bind>    [:@$\#][\w$\x80-\U0010ffff]+ | \?[0-9]* )
    | (?P<sign>    ->>|->|\|\||<<|>>|<=|>=|<>|!=|==|[^'"`\[] )
    | (?P<bad>     . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SILENT = ("space", "comment")


@dataclass(frozen=True, slots=True)
class Token:
    """One token; joined, the texts of all tokens are the script again."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with its semicolon, from its first token; lines count from 1."""

    text: str
    line: int
    first_word: str


class UnfinishedTextError(ValueError):
    """A string or a quoted name is never closed, or U+0000 occurs; `line` is where."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def tokens(sql: str) -> Iterator[Token]:
    """Every token in order, white space and comments included.

    Raises UnfinishedTextError where SQLite would find an unrecognised token, and for U+0000.
    """
    if "\0" in sql:  # also in comments: SQLite would see the end of the statement there
        raise UnfinishedTextError(sql.count("\n", 0, sql.index("\0")) + 1, "holds U+0000")
    line = 1
    for found in _TOKEN.finditer(sql):
        kind, text = found.lastgroup or "bad", found.group()
        if kind == "bad":
            raise UnfinishedTextError(line, f"the {text} is never closed")
        yield Token(kind, text, line)
        line += text.count("\n")


def spoken(sql: str) -> Iterator[Token]:
    """The tokens without white space and comments."""
    return (token for token in tokens(sql) if token.kind not in _SILENT)


def checksum(sql: str) -> str:
    """SHA-256 over the tokens: only white space, comments and line endings may change freely."""
    from hashlib import sha256  # 5 ms of import that opening an up-to-date file does not need

    return sha256("\0".join(token.text for token in spoken(sql)).encode()).hexdigest()


def normalised(sql: str) -> str:
    """The text as SQLite understands it, to compare: one space, lower case, plain names bare."""
    return " ".join(_plain(token) for token in spoken(sql))


def quoted(name: str) -> str:
    """The name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def lowered(name: str) -> str:
    """The name as SQLite compares it: only A to Z are the same as a to z."""
    return name.encode().lower().decode()


def split(sql: str) -> list[Statement]:
    """The statements in order; comments between them and empty statements are left out.

    A trigger is kept whole: it ends at `; END ;`, so that no CASE ... END inside can end it.
    Raises UnfinishedTextError.
    """
    statements: list[Statement] = []
    pieces: list[str] = []
    words: list[str] = []  # the tokens of the statement so far, upper case
    line = 1
    for token in tokens(sql):
        if token.kind not in _SILENT:
            if not words:
                line = token.line
            words.append(token.text.upper())
        if words:
            pieces.append(token.text)
        if token.text != ";" or (_is_trigger(words) and words[-3:-1] != [";", "END"]):
            continue
        if len(words) > 1:
            statements.append(Statement("".join(pieces), line, words[0]))
        pieces, words = [], []
    if words:
        statements.append(Statement("".join(pieces).rstrip(), line, words[0]))
    return statements


def _is_trigger(words: list[str]) -> bool:
    """Whether it is one with statements of its own."""
    start = words[:3]
    if start[:1] != ["CREATE"] or ("EXECUTE" in words and "BEGIN" not in words):
        return False
    return "TRIGGER" in start[1:2] or (
        start[1:2] in (["TEMP"], ["TEMPORARY"]) and start[2:] == ["TRIGGER"]
    )


def _plain(token: Token) -> str:
    text = token.text
    if token.kind == "text" and text[0] in '"`[' and re.fullmatch(r"[A-Za-z_]\w*", text[1:-1]):
        return text[1:-1].lower()
    return text.lower() if token.kind in {"word", "number"} else text
