"""Write a statement as PostgreSQL takes it: `:name` becomes `$n` with its type."""

import re
from datetime import datetime
from typing import Any

from cwstore.core.statement import Statement, bind_names

# As in core/statement.py: a bind outside of quoted text and comments.
_PART = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*[\s\S]*?\*/|(?<!:):([a-z_]+)""")

#: A setting that lives as long as its transaction: the stamp of a statement that is alone in it,
#: where the server gives it out.
STAMP_SETTING = "cwstore.stamp"

_OF_THE_ENGINE = {"clock": int, "rising_id": str}

_texts: dict[str, bytes] = {}


def text_of(statement: Statement[Any]) -> bytes:
    """The text with numbered binds, in the order in which `Statement.bind` lists them."""
    made = _texts.get(statement.text)
    if made is None:
        made = _texts[statement.text] = _translate(statement).encode()
    return made


def _translate(statement: Statement[Any]) -> str:
    numbers = {name: number for number, name in enumerate(bind_names(statement.text), 1)}
    rules = statement.rules()
    written: dict[str, str] = {}
    for name, number in numbers.items():
        if name == "now":
            # The planner asks for the setting also where it is not needed: it may not be there.
            there = f"nullif(current_setting('{STAMP_SETTING}', true), '')::bigint"
            written[name] = f"coalesce(${number}::bigint, {there})"
        else:
            kind = rules[name].type if name in rules else _OF_THE_ENGINE[name]
            written[name] = f"${number}::{_type_of(kind)}"
    return _PART.sub(lambda part: written.get(part[1] or "", part[0]), statement.text)


def _type_of(kind: type[Any]) -> str:
    # A subclass of datetime is one while a test freezes the time.
    if issubclass(kind, int | datetime):
        return "bigint"
    if issubclass(kind, float):
        return "double precision"
    return "bytea" if issubclass(kind, bytes) else "text"
