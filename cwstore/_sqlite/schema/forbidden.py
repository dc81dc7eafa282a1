"""What a migration script may not do: SQLite asks the authorizer about every action."""

from collections.abc import Callable

import apsw

from cwstore.migrations.scripts import LEDGER

# What SQLite asks by itself inside ALTER TABLE and the full-text index; it changes nothing.
_HARMLESS_PRAGMAS = frozenset(
    {"data_version", "foreign_key_check", "integrity_check", "quick_check", "table_info"}
)
_TRANSACTION = "it may not begin, end or nest a transaction: the runner does, once around it"
_PRAGMA = "it may not use PRAGMA: the runner sets versions and foreign keys"
_DENIED_WORDS = {
    **dict.fromkeys(("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"), _TRANSACTION),
    **dict.fromkeys(("ATTACH", "DETACH"), "it may not attach or detach a database"),
    "PRAGMA": _PRAGMA,
    "VACUUM": "it may not VACUUM: that cannot be part of a transaction",
}
_DENIED_ACTIONS = {
    apsw.SQLITE_TRANSACTION: _TRANSACTION,
    apsw.SQLITE_SAVEPOINT: _TRANSACTION,
    apsw.SQLITE_ATTACH: _DENIED_WORDS["ATTACH"],
    apsw.SQLITE_DETACH: _DENIED_WORDS["DETACH"],
}
_ON_A_TABLE = frozenset(
    {
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TRIGGER,
    }
)
_CHANGES_NO_ROW = frozenset(
    {
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_READ,
        apsw.SQLITE_RECURSIVE,
        apsw.SQLITE_REINDEX,
        apsw.SQLITE_SELECT,
    }
)


def denied_word(first_word: str) -> str | None:
    """Why a statement that begins with this word may not be in a script; None: it may."""
    return _DENIED_WORDS.get(first_word)


def authorizer(
    reasons: list[str], prefix: str = ""
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    """For `Connection.authorizer`: refuses what a script may not do and notes why in `reasons`.

    It also meets what triggers and EXPLAIN hide from a look at the first word. With a `prefix` the
    script is an extension's: it changes nothing whose name does not begin so.
    """

    may_change = (prefix, "sqlite_")

    def name_of_others(action: int, first: str | None, second: str | None) -> str | None:
        if action in _CHANGES_NO_ROW or action == apsw.SQLITE_PRAGMA:
            return None
        # The second name is the table of an index or trigger, and of ALTER TABLE the table itself.
        names = [second or ""] if action == apsw.SQLITE_ALTER_TABLE else [first or ""]
        names += [second or ""] if action in _ON_A_TABLE else []
        return next((one for one in names if not one.lower().startswith(may_change)), None)

    def authorize(
        action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        reason = _DENIED_ACTIONS.get(action)
        if action == apsw.SQLITE_PRAGMA and (first or "").lower() not in _HARMLESS_PRAGMAS:
            reason = _PRAGMA
        elif action not in _CHANGES_NO_ROW and (
            (first or "").lower().endswith(LEDGER) or (second or "").lower().endswith(LEDGER)
        ):
            reason = f"it may not touch {LEDGER}: the runner keeps it"
        elif prefix and (name := name_of_others(action, first, second)) is not None:
            reason = f"an extension makes and changes only what is named {prefix}…, not {name}"
        if reason is None:
            return apsw.SQLITE_OK
        reasons.append(reason)
        return apsw.SQLITE_DENY

    return authorize
