"""Addresses: what libpq gets, what is ours, and what nobody is shown."""

from pathlib import Path

import pytest

import cwstore
from cwstore._postgres.address import parse
from cwstore.errors import CwstoreError, InvalidValueError, StorageError
from cwstore.store import Store
from tests.kits.engine import whole_chain

PASSWORD = "hunter2-do-not-tell"


@pytest.mark.parametrize(
    ("given", "conninfo", "name", "schema"),
    [
        ("postgresql:///db", "postgresql:///db", "postgresql:///db", None),
        ("postgres://h/db", "postgresql://h/db", "postgresql://h/db", None),
        (
            f"postgresql://me:{PASSWORD}@h1:1,h2:2/db?schema=own&target_session_attrs=read-write",
            f"postgresql://me:{PASSWORD}@h1:1,h2:2/db?target_session_attrs=read-write",
            "postgresql://me@h1:1,h2:2/db?schema=own&target_session_attrs=read-write",
            "own",
        ),
        (
            f"postgresql:///db?host=/run&password={PASSWORD}&schema=a%20b",
            f"postgresql:///db?host=/run&password={PASSWORD}",
            "postgresql:///db?host=/run&schema=a%20b",
            "a b",
        ),
        (
            f"postgresql://me:{PASSWORD}@[::1]:1,[::2]:2/db?options=-c%20a%3D{PASSWORD}&schema=a+b",
            f"postgresql://me:{PASSWORD}@[::1]:1,[::2]:2/db?options=-c%20a%3D{PASSWORD}",
            "postgresql://me@[::1]:1,[::2]:2/db?schema=a+b",
            "a+b",
        ),
    ],
    ids=["plain", "short scheme", "several hosts", "in the query", "a plus is no blank"],
)
def test_an_address_is_taken_apart(
    given: str, conninfo: str, name: str, schema: str | None
) -> None:
    found = parse(given)
    assert (found.conninfo, found.name, found.schema) == (conninfo, name, schema)
    assert repr(found) == f"Address({name!r})"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{PASSWORD}@[::1/db",
        f"postgresql://me:{PASSWORD}@h/db?nonsense",
        f"postgresql://me:{PASSWORD}@h/db?schema=",
        f"postgresql://me:{PASSWORD}@h/db?schema={'x' * 64}",
        f"postgresql://me:{PASSWORD}@h/db\0",
        *(f"postgresql://me:1{sign}{PASSWORD}@h/db" for sign in "@/?#"),
        f"postgresql://me:1?a={PASSWORD}@h/db",
        f"postgresql://me:{PASSWORD}/1@h/db",
        f"postgresql://me:x@h:{PASSWORD}/db",
        f"postgresql+psycopg://me:{PASSWORD}@h/db",
        f"POSTGRESQL://me:{PASSWORD}@h/db",
    ],
    ids=[
        *("host", "query", "empty schema", "long schema", "U+0000"),
        *("an @", "a slash", "a question mark", "a hash", "a query in it", "a slash at its end"),
        *("port", "SQLAlchemy's", "in capitals"),
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InvalidValueError, match="path") as caught:
        Store.open(address)
    assert all(PASSWORD not in repr(one) for one in whole_chain(caught.value))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"postgresql://me:{PASSWORD}@/db?host=/nowhere", "/nowhere"),
        (
            f"postgresql://me:{PASSWORD}@/db?host=/nowhere&unknown=1",
            "libpq does not understand the address",
        ),
    ],
    ids=["no server", "no such option"],
)
def test_who_cannot_connect_is_told_so_without_the_password(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught:
        cwstore.migrate(address)
    assert all(PASSWORD not in repr(one) for one in whole_chain(caught.value))


def test_a_store_shows_its_address_without_the_password(address: str) -> None:
    with Store.open(f"{address}&password={PASSWORD}") as store:
        assert store.path == address
        assert PASSWORD not in repr(store)
        with pytest.raises(CwstoreError) as caught:
            store.backup("x")
        assert address in str(caught.value)


def test_an_address_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="pg_restore") as caught:
        cwstore.restore(f"postgresql://me:{PASSWORD}@h/db", tmp_path / "a.db")
    assert PASSWORD not in str(caught.value)


def test_without_the_driver_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError(name="psycopg")

    monkeypatch.setattr("cwstore.core.drivers.import_module", fail)
    with pytest.raises(
        StorageError,
        match=(r"^PostgreSQL takes the package psycopg: pip install 'cwstore\[postgres\]'$"),
    ):
        Store.open("postgresql:///db")
