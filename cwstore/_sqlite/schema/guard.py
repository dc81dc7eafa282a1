"""What a migration script may not do: SQLite asks the authorizer about every action."""

from collections.abc import Callable

import apsw

from cwstore.migrations.ledger import LEDGER

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
    reasons: list[str],
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    """For `Connection.authorizer`: refuses what a script may not do and notes why in `reasons`.

    It also meets what triggers and EXPLAIN hide from a look at the first word.
    """

    def authorize(
        action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        reason = _DENIED_ACTIONS.get(action)
        if action == apsw.SQLITE_PRAGMA and (first or "").lower() not in _HARMLESS_PRAGMAS:
            reason = _PRAGMA
        elif action not in _CHANGES_NO_ROW and LEDGER in {
            (first or "").lower(),
            (second or "").lower(),
        }:
            reason = f"it may not touch {LEDGER}: the runner keeps it"
        if reason is None:
            return apsw.SQLITE_OK
        reasons.append(reason)
        return apsw.SQLITE_DENY

    return authorize
