"""Have the server undo a write whose row is no entity.

A write is sent together with its COMMIT, so it is kept before the row is mapped; but what is
refused changes nothing. So the server looks first whether the row can be mapped.
"""

from typing import TYPE_CHECKING, Any

from cwstore.core.checks import FIRST_MICROS, LAST_MICROS, hints_of, members_of, rule_of
from cwstore.core.mapping import field_names, is_plain
from cwstore.core.sealing import ENVELOPE

if TYPE_CHECKING:
    from cwstore.core.checks import ValueRule
    from cwstore.core.statement import Statement

#: Raised for a row that cannot be mapped: a division by zero, which a statement may raise as well.
UNFIT = "22012"


def guarded(text: str, statement: "Statement[Any]", then: str = "") -> str:
    """A writing statement with RETURNING, of PostgreSQL's, that fails by UNFIT for such a row.

    `then` is a condition, never false, for something to be done with each row.
    """
    if statement.scalar is not None:
        return text
    names = field_names(statement.entity)
    hints = hints_of(statement.entity)
    fits = [fit for name in names if (fit := _fit(f'"{name}"', rule_of(hints[name])))]
    conditions = [f"1 / (CASE WHEN {' AND '.join(fits)} THEN 1 ELSE 0 END) = 1"] if fits else []
    conditions += [then] if then else []
    if not conditions:
        return text
    columns = ", ".join(f'"{name}"' for name in names)
    return (
        f"WITH written ({columns}) AS (\n{text.rstrip('; ')}\n)\n"
        f"SELECT * FROM written WHERE {' AND '.join(conditions)}"
    )


def _fit(column: str, rule: "ValueRule") -> str:
    """The condition that a mapper takes the value; "": it takes any."""
    if rule.is_sealed:
        fit = f"left({column}, {len(ENVELOPE)}) <> '{ENVELOPE}'"
    elif rule.type is bool or is_plain(rule):
        return ""
    elif rule.is_time:
        fit = f"{column} BETWEEN {FIRST_MICROS} AND {LAST_MICROS}"
    else:
        members = [member.replace("'", "''") for member in members_of(rule)]
        values = ", ".join(f"'{member}'" for member in members)
        fit = f"{column} IN ({values})"
    return f"({column} IS NULL OR {fit})" if rule.optional else fit
