"""Addresses: `postgresql://user:password@host/database?schema=name`, as libpq takes them.

`schema` is ours: in which schema of the database the tables lie. All else is libpq's.
"""

import os
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from cwstore.errors import InvalidValueError

#: What of a query messages show: the rest may be secret, or a part of a password.
_SHOWN = frozenset(
    {
        *("host", "hostaddr", "port", "user", "dbname", "service", "schema", "sslmode"),
        *("target_session_attrs", "load_balance_hosts"),
    }
)
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
    parts: SplitResult | None = None
    try:
        parts = urlsplit(text)
    except ValueError:  # repeats a part of it: not chained
        pass
    if parts is None or _is_torn(parts):
        raise InvalidValueError(
            "path",
            "not an address: postgresql://user@host/database?schema=x;"
            " what has a meaning in it is written in a password as %40 (@), %3A (:), %2F (/),"
            " %3F (?), %23 (#), %25 (%)",
        )
    options = parts.query.split("&") if parts.query else []
    schema = dict(map(_option, options)).get("schema")
    if schema is not None and not 0 < len(schema.encode()) <= _LONGEST_NAME:
        raise InvalidValueError("path", f"schema= takes a name of 1 to {_LONGEST_NAME} bytes")
    left = "&".join(one for one in options if _option(one)[0] != "schema")
    conninfo = f"postgresql://{parts.netloc}{parts.path}{'?' if left else ''}{left}"
    return Address(conninfo, _shown(parts, options), schema)


def _option(text: str) -> tuple[str, str]:
    """As libpq reads it: a plus is a plus."""
    name, _, value = text.partition("=")
    return unquote(name), unquote(value)


def _is_torn(parts: SplitResult) -> bool:
    """Whether a sign of a password may have been taken for one that ends it."""
    before, _, hosts = parts.netloc.rpartition("@")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts.split(",")]
    return (
        bool(parts.fragment)
        or "@" in before + parts.path
        or ("@" in parts.query and "@" not in parts.netloc)
        or not all("=" in one for one in parts.query.split("&") if parts.query)
        or not all(port == "" or port.isdecimal() for port in ports)
    )


def _shown(parts: SplitResult, options: list[str]) -> str:
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    query = "&".join(one for one in options if _option(one)[0] in _SHOWN)
    where = f"{user}@{host}" if user else host
    return f"postgresql://{where}{parts.path}{'?' if query else ''}{query}"
