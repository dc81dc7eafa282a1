"""Addresses: `postgresql://user:password@host/database?schema=name`, as libpq takes them.

`schema` is ours: in which schema of the database the tables lie. All else is libpq's.
"""

import os
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from cwstore.errors import InvalidValueError

_SECRET = frozenset({"password", "sslpassword", "sslkey", "passfile", "oauth_client_secret"})
_LONGEST_NAME = 63  # bytes; PostgreSQL would cut it


class Address(NamedTuple):
    """Where a database is. Only `name` may be shown: `conninfo` can hold a password."""

    conninfo: str
    name: str
    schema: str | None  #: None: the first of the user's search_path

    def __repr__(self) -> str:
        return f"Address({self.name!r})"


def parse(text: object) -> Address:
    """Raises InvalidValueError, which does not repeat the address."""
    if isinstance(text, os.PathLike) or not isinstance(text, str) or "\0" in text:
        raise InvalidValueError("path", "expected an address as str: postgresql://host/database")
    given: list[tuple[str, str]] = []
    parts: SplitResult | None = None
    try:
        split = urlsplit(text)
        given = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
        parts = split
    except ValueError:  # repeats a part of it: not chained
        pass
    if parts is None:
        raise InvalidValueError("path", "not an address: postgresql://user@host/database?schema=x")
    schema = dict(given).get("schema")
    if schema is not None and not 0 < len(schema.encode()) <= _LONGEST_NAME:
        raise InvalidValueError("path", f"schema= takes a name of 1 to {_LONGEST_NAME} bytes")
    left = urlencode([one for one in given if one[0] != "schema"], quote_via=quote)
    conninfo = f"postgresql://{parts.netloc}{parts.path}{'?' if left else ''}{left}"
    return Address(conninfo, _shown(parts, given), schema)


def _shown(parts: SplitResult, given: list[tuple[str, str]]) -> str:
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    query = urlencode([one for one in given if one[0] not in _SECRET], quote_via=quote, safe="/")
    where = f"{user}@{host}" if user else host
    return f"postgresql://{where}{parts.path}{'?' if query else ''}{query}"
