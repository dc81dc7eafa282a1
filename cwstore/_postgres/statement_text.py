"""Write a statement as PostgreSQL takes it: `:name` becomes `$n` with its type.

Some statements are sent before their values are known. Those the server finds in settings that live
as long as the transaction: the stamp, and the id of the row to which others are linked.
"""

import re
from datetime import datetime
from typing import Any, NamedTuple

from cwstore._postgres.row_guard import guarded
from cwstore.core.ids import DIGITS, LAST_STAMP
from cwstore.core.statement import Statement, bind_names

# As in core/statement.py: a bind outside of quoted text and comments.
_PART = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*[\s\S]*?\*/|(?<!:):([a-z_]+)""")

#: The stamp of the first statement, where the server gives it out.
STAMP_SETTING = "cwstore.stamp"
_LINK_SETTING = "cwstore.linked"
_KEEP_ID = f"""set_config('{_LINK_SETTING}', "id", true) IS NOT NULL"""


class Linked(NamedTuple):
    """The text of a statement that follows, and the place of the bind that the server gives."""

    text: bytes
    place: int


_texts: dict[str, bytes] = {}
_guarded: dict[tuple[str, type[Any], bool], bytes] = {}
_linked: dict[tuple[str, str, int], Linked] = {}


def text_of(statement: Statement[Any]) -> bytes:
    """The text with numbered binds, in the order in which `Statement.bind` lists them."""
    made = _texts.get(statement.text)
    if made is None:
        made = _texts[statement.text] = _translate(statement).encode()
    return made


def guarded_text_of(statement: Statement[Any], *, keeps_id: bool = False) -> bytes:
    """As `text_of`, for one with RETURNING that is sent with its COMMIT: see row_guard.py.

    With `keeps_id` the id of its row is there for those that are linked to it.
    """
    key = (statement.text, statement.entity, keeps_id)
    made = _guarded.get(key)
    if made is None:
        text = guarded(_translate(statement), statement, _KEEP_ID if keeps_id else "")
        made = _guarded[key] = text.encode()
    return made


def linked_text_of(statement: Statement[Any], link: str, stamps: int) -> Linked:
    """As `text_of`, for one that follows: the id is bound to `link`, NULL if there was no row.

    `stamps` were given out in the transaction before.
    """
    key = (statement.text, link, stamps)
    made = _linked.get(key)
    if made is None:
        text = _translate(statement, link, stamps).encode()
        made = _linked[key] = Linked(text, bind_names(statement.text).index(link))
    return made


def _translate(statement: Statement[Any], link: str = "", stamps: int = 0) -> str:
    numbers = {name: number for number, name in enumerate(bind_names(statement.text), 1)}
    rules = statement.rules()
    written: dict[str, str] = {}
    # The planner asks for the setting also where it is not needed: it may not be there.
    stamp = f"{_setting(STAMP_SETTING)}::bigint" + (f" + {stamps}" if stamps else "")
    for name, number in numbers.items():
        if name == "now":
            written[name] = f"coalesce(${number}::bigint, {stamp})"
        elif name == "rising_id":
            written[name] = _rising_id(f"${number}::text", stamp)
        elif name == link:
            written[name] = f"coalesce(${number}::text, {_setting(_LINK_SETTING)})"
        else:
            kind = rules[name].type if name in rules else int  # `:clock`
            written[name] = f"${number}::{_type_of(kind)}"
    return _PART.sub(lambda part: written.get(part[1] or "", part[0]), statement.text)


def _rising_id(id: str, stamp: str) -> str:
    """An expression: the id, with the stamp at its beginning if the server gave one out.

    As core/ids.py makes it: nine digits of six bits, and two bits of the tenth.
    """
    digits = [f"(stamp >> {bits} & 63)::integer + 1" for bits in range(50, 1, -6)]
    digits.append(f"(stamp & 3)::integer * 16 + strpos('{DIGITS}', substr({id}, 10, 1))")
    begins = " || ".join(f"substr('{DIGITS}', {digit}, 1)" for digit in digits)
    return (
        f"(SELECT coalesce({begins} || substr({id}, 11), {id})"
        f" FROM (SELECT CASE WHEN {stamp} < 0 THEN 0 WHEN {stamp} > {LAST_STAMP} THEN {LAST_STAMP}"
        f" ELSE {stamp} END AS stamp) AS given)"
    )


def _setting(name: str) -> str:
    return f"nullif(current_setting('{name}', true), '')"


def _type_of(kind: type[Any]) -> str:
    # A subclass of datetime is one while a test freezes the time.
    if issubclass(kind, int | datetime):
        return "bigint"
    if issubclass(kind, float):
        return "double precision"
    return "bytea" if issubclass(kind, bytes) else "text"
