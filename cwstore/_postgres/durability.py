"""Let go of the lane before disk and standbys have a commit, and wait for them afterwards.

A commit that waits keeps the lane meanwhile, so all stores together would write as often as the
disk and the slowest standby answer. A later commit is on disk only if all before it are. So nothing
that was acknowledged can be lost while something that it builds on is; but who reads may see a
commit some milliseconds before the disk has it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

    from cwstore._postgres.connection import Connection, Message

_LEVEL = """
    SELECT
        current_setting('synchronous_commit'),
        coalesce(bool_and(has_function_privilege(oid, 'EXECUTE')), false)::int
    FROM pg_catalog.pg_proc
    WHERE proname = 'pg_logical_emit_message'
"""
_SET_LEVEL = "SELECT set_config('synchronous_commit', $1::text, false)"
# A transaction that writes a record of nothing into the log, and waits for it.
_WAIT = b"""
    SELECT
        set_config('synchronous_commit', $1::text, true),
        pg_logical_emit_message(true, 'cwstore', '')::text
"""
_TOO_WEAK = ("off", "local", "remote_write")


def wait_after_commit(connection: "Connection", durable: bool) -> "Message | None":
    """What to send after each COMMIT, so that it is acknowledged only when it is durable.

    From now on a COMMIT of this connection does not wait. None: COMMIT itself waits for what the
    settings of the server ask for. With `durable` that is a disk at least, and the standbys that
    the server names.
    """
    ((asked, can_wait),) = connection.execute(_LEVEL).fetchall()
    level = "on" if durable and asked in _TOO_WEAK else asked
    early = can_wait and level != "off"
    connection.execute(_SET_LEVEL, ["off" if early else level])
    return (_WAIT, (level,)) if early else None


def is_wait_cancelled(notice: "Diagnostic") -> bool:
    """Whether the server tells that it has acknowledged what a standby may not have."""
    return notice.source_function == "SyncRepWaitForLSN"
