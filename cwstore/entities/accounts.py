"""Accounts of providers: they take turns, and rest while their limit is exhausted."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import LiteralString, TypedDict, Unpack, cast

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.ids import make_id
from cwstore.core.repository import (
    Mode,
    Repository,
    command,
    fetch_page,
    patch_row,
    query,
    row_or_raise,
)
from cwstore.core.secret import SealedJson, Secret, SecretJson, hide
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, Patch, lists_of, rows_of, values_of

__all__ = ["Account", "AccountPatch", "AccountRepository"]


@dataclass(frozen=True, slots=True)
class Account:
    """One row of `accounts`, as it was when read."""

    id: NonEmpty
    #: Not unique.
    email: str
    provider: str
    #: Left out of the repr, for it may hold tokens; None: no settings of its own.
    config_json: SealedJson | None = field(repr=False)
    #: None: held elsewhere.
    credentials: SecretJson | None
    is_exhausted: bool
    #: None while exhausted: until it is cleared by hand.
    exhausted_until: datetime | None
    #: None: never used, so it comes first.
    last_used_at: datetime | None
    sort_order: int
    created_at: datetime
    updated_at: datetime


class AccountPatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    email: str
    provider: str
    config_json: str | None
    credentials: Secret | str | None
    sort_order: int
    last_used_at: datetime | None


#: Keys whose values a traceback may show.
_SHOWN = AccountPatch.__annotations__.keys() - {"config_json", "credentials"}

_COLUMNS = """id, email, provider, config_json, credentials, is_exhausted, exhausted_until,
    last_used_at, sort_order, created_at, updated_at"""
_account = rows_of(Account)
_id = values_of(str, Account)

_CREATE = _account(f"""
    INSERT INTO accounts ({_COLUMNS})
    VALUES (
        :id, :email, :provider, :config_json, :credentials, 0, NULL,
        NULL, :sort_order, :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _account(f"""
    SELECT {_COLUMNS}
    FROM accounts
    WHERE id = :id
""")
_list = lists_of(Account, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM accounts
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PROVIDER = _list(f"""
    SELECT {_COLUMNS}
    FROM accounts
    WHERE provider = :provider
    ORDER BY sort_order, created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE accounts
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    AccountPatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM accounts
    WHERE id = :id
    RETURNING id
""")

_NEXT: LiteralString = """
        FROM accounts
        WHERE provider = :provider
          AND (is_exhausted = 0 OR exhausted_until <= :clock)
        ORDER BY last_used_at NULLS FIRST, sort_order, created_at, id
        LIMIT 1"""

_FIND_NEXT_AVAILABLE = _account(f"SELECT {_COLUMNS} {_NEXT}")

# Clocks of processes disagree and step back, yet a claim must be the provider's latest: it comes a
# microsecond after one that lies ahead of :now. The number is 9999-12-31T00:00:00Z: an account that
# was put behind all others for good must not push them to the end of what a datetime can say.
_CLAIM_NEXT_AVAILABLE = _account(f"""
    UPDATE accounts
    SET last_used_at = coalesce(
            (
                SELECT max(other.last_used_at) + 1
                FROM accounts AS other
                WHERE other.provider = :provider
                  AND other.last_used_at >= :now
                  AND other.last_used_at < 253402214400000000
            ),
            :now
        ),
        updated_at = {NEXT_UPDATED_AT}
    WHERE id = (SELECT id {_NEXT})
    RETURNING {_COLUMNS}
""")

_MARK_EXHAUSTED = _account(
    f"""
    UPDATE accounts
    SET exhausted_until = CASE
            WHEN is_exhausted = 1
             AND (
                exhausted_until IS NULL
                OR exhausted_until > :clock
                AND exhausted_until > coalesce(:until, exhausted_until)
            )
            THEN exhausted_until
            ELSE :until
        END,
        is_exhausted = 1,
        updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
    RETURNING {_COLUMNS}
    """,
    until=datetime | None,
)

_CLEAR_EXHAUSTED = _account(f"""
    UPDATE accounts
    SET is_exhausted = 0, exhausted_until = NULL, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
    RETURNING {_COLUMNS}
""")

_CLEAR_EXPIRED_EXHAUSTION = _id(f"""
    UPDATE accounts
    SET is_exhausted = 0, exhausted_until = NULL, updated_at = {NEXT_UPDATED_AT}
    WHERE exhausted_until <= :clock
""")


class AccountRepository(Repository[Mode]):
    """Create, read and update accounts, and let them take turns."""

    @command
    def create(
        self,
        *,
        email: str,
        provider: str = "claude",
        config_json: str | None = None,
        credentials: Secret | str | None = None,
        sort_order: int = 0,
        id: str | None = None,
    ) -> Account:
        """A new account, not exhausted and never used. Raises ConflictError if the id is taken."""
        hidden = hide(credentials), hide(config_json)
        del credentials, config_json  # a traceback may show the variables
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            email=email,
            provider=provider,
            config_json=hidden[1],
            credentials=hidden[0],
            sort_order=sort_order,
        )

    @query
    def find_by_id(self, id: str) -> Account | None:
        """The account, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Account:
        """The account. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "accounts", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Account]:
        """Every account by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_provider(self, provider: str, **page: Unpack[Paging]) -> list[Account]:
        """Accounts of the provider by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_PROVIDER, page, provider=provider)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[AccountPatch]
    ) -> Account:
        """Change what is given and `updated_at`.

        Raises NotFoundError, ConflictError if `updated_at` is not `if_updated_at`, and SecretError
        if it would write over a secret that this store cannot decode.
        """
        patch = cast(
            AccountPatch,
            {key: value if key in _SHOWN else hide(value) for key, value in patch.items()},
        )
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it; its agents stay, without an account. False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None

    @query
    def find_next_available(self, provider: str = "claude") -> Account | None:
        """The account that `claim_next_available` would take now, or None; changes nothing."""
        return self._db.fetch_one(_FIND_NEXT_AVAILABLE, provider=provider)

    @command
    def claim_next_available(self, provider: str = "claude") -> Account | None:
        """Take the account whose turn it is and set its `last_used_at`; None if all are exhausted.

        Never used ones go first, by sort_order, then oldest first; after them the least recently
        used. One whose `exhausted_until` has come is available again, with nothing to clear. The
        new `last_used_at` exceeds every other one of the provider, whatever the clocks say: any
        number of processes take turns strictly.
        """
        return self._db.write_one(_CLAIM_NEXT_AVAILABLE, provider=provider)

    @command
    def mark_exhausted(self, id: str, until: datetime | None) -> Account:
        """Let it rest until then; None: until `clear_exhausted`.

        A rest that has not passed is never shortened: of two limits of one account, such as five
        hours and a week, the longer holds, whichever is reported last. Raises NotFoundError.
        """
        return row_or_raise(self._db.write_one(_MARK_EXHAUSTED, id=id, until=until), "accounts", id)

    @command
    def clear_exhausted(self, id: str) -> Account:
        """End its rest, whatever it was: available again. Raises NotFoundError."""
        return row_or_raise(self._db.write_one(_CLEAR_EXHAUSTED, id=id), "accounts", id)

    @command
    def clear_expired_exhaustion(self) -> int:
        """Mark as not exhausted those whose `exhausted_until` has come; how many they were."""
        return self._db.execute(_CLEAR_EXPIRED_EXHAUSTION)


publish(globals())
