"""The lane: a lock that one transaction of one store at a time holds, and the stamps it hands on.

PostgreSQL lets many write at once, each on what it saw; claims and rotation need one writer at a
time, as SQLite has it. At READ COMMITTED each statement after the lock sees all that was committed
before; the lock ends with the transaction, or with the server's knowledge of a dead client.

The last stamp is kept in a sequence: it is seen at once by who holds the lane next, and it never
grows dead versions, as a row that each transaction updates would while somebody reads for long.
"""

from typing import TYPE_CHECKING, NamedTuple

from cwstore._postgres.connection import quoted
from cwstore._postgres.statement_text import STAMP_SETTING
from cwstore.core.checks import EPOCH, MICROSECOND

if TYPE_CHECKING:
    from datetime import datetime

    from cwstore._postgres.connection import Connection, Message

#: The sequence of the last stamp, in the schema of the tables.
STAMPS = "schema_stamps"

BEGIN: "Message" = (b"BEGIN", ())
COMMIT: "Message" = (b"COMMIT", ())
# And for how many seconds it was waited for.
_TAKE = b"""
    SELECT
        pg_advisory_xact_lock($1::bigint),
        date_part('epoch', clock_timestamp() - statement_timestamp())
"""
_KEY = "SELECT hashtextextended('cwstore ' || $1::text, 0)"
_HOLDER = """
    SELECT
        coalesce(nullif(activity.application_name, ''), 'server process ' || activity.pid),
        (extract(epoch FROM activity.xact_start) * 1000000)::bigint,
        date_part('epoch', clock_timestamp() - activity.xact_start)
    FROM pg_locks AS held
    JOIN pg_stat_activity AS activity ON activity.pid = held.pid
    WHERE held.locktype = 'advisory'
      AND held.granted
      AND held.objsubid = 1
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (held.classid::bigint << 32) | held.objid::bigint = $1::bigint
      AND held.pid <> $2::bigint
"""


class Holder(NamedTuple):
    """Who holds the lane."""

    process: str | None  #: as text
    since: "datetime | None"  #: when its transaction began, by the clock of the server
    seconds: float | None  #: ago


class Lane:
    """The lane of one schema of one database."""

    def __init__(self, connection: "Connection", schema: str) -> None:
        self.schema = schema
        ((self.key,),) = connection.execute(_KEY, [schema]).fetchall()
        self.take: Message = (_TAKE, (self.key,))
        stamps = f"{quoted(schema)}.{quoted(STAMPS)}"
        self._last = f"SELECT last_value FROM {stamps}".encode()
        literal = stamps.replace("'", "''")
        self._hand_on = (
            f"SELECT setval('{literal}', greatest($1::bigint, last_value)) FROM {stamps}"
        ).encode()
        self._give_out = (
            f"SELECT set_config('{STAMP_SETTING}',"
            f" (setval('{literal}', greatest($1::bigint, last_value + 1) + $2::bigint)"
            f" - $2::bigint)::text, true) FROM {stamps}"
        ).encode()

    def last_stamp(self) -> "Message":
        """Asks for the last stamp that was handed on. For who holds the lane."""
        return self._last, ()

    def hand_on(self, stamp: int) -> "Message":
        """Leaves a stamp to who holds the lane next."""
        return self._hand_on, (stamp,)

    def give_out(self, now: int, more: int) -> "Message":
        """Gives out the next stamp, where `:now` of the statements that follow finds it.

        And as many `more`, each one microsecond later.
        """
        return self._give_out, (now, more)

    def holder(self, connection: "Connection", session: int = 0) -> "Holder":
        """Who else than that session holds the lane; None for what may not be known."""
        found = connection.execute(_HOLDER, [self.key, session]).fetchall()
        if not found:
            return Holder(None, None, None)
        ((name, since, seconds),) = found
        return Holder(name, None if since is None else EPOCH + MICROSECOND * since, seconds)
