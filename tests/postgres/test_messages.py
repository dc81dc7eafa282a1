"""What an error of a store on a server says, word for word: see `tests/test_messages.py`."""

from collections.abc import Callable
from typing import Any

import pytest

import cwstore
from cwstore._postgres import server_check
from cwstore.cli import main
from cwstore.errors import CwstoreError
from cwstore.testing import check_statements

pytestmark = pytest.mark.slow

# What is refused here is refused by type checkers, too.
Store: Any = cwstore.Store

NOWHERE = "postgresql:///db?host=/nowhere"
REFUSALS: list[tuple[Callable[[Any, str], object], str]] = [
    (
        lambda s, here: s.backup("x"),
        "HERE: back PostgreSQL up by pg_dump, or by pgBackRest and the like",
    ),
    (
        lambda s, here: s.compact(),
        (
            "HERE: PostgreSQL uses the space of deleted rows again by itself; VACUUM FULL gives it"
            " back, and locks each table meanwhile"
        ),
    ),
    (
        lambda s, here: Store.open(here, checkpoints="external"),
        "checkpoints: are the server's: leave it out",
    ),
    (
        lambda s, here: Store.open(here + "\0"),
        "path: expected an address as str: postgresql://host/database",
    ),
    (
        lambda s, here: Store.open("postgresql://u:p@ss@h/db"),
        (
            "path: not an address: postgresql://user@host/database?schema=x; what has a meaning in"
            " it is written in a password as %40 (@), %3A (:), %2F (/), %3F (?), %23 (#), %25 (%)"
        ),
    ),
    (
        lambda s, here: Store.open(f"{here}&schema={'x' * 64}"),
        "path: schema= takes a name of 1 to 63 bytes",
    ),
    (
        lambda s, here: Store.open(f"{here}&unknown=1"),
        (
            "HERE: libpq does not understand the address; see `Connection URIs` in"
            " PostgreSQL's manual"
        ),
    ),
    (
        lambda s, here: Store.open(f"{here}&options=-csearch_path%3Dnowhere"),
        "HERE: no schema of the search_path is there; name one by ?schema=",
    ),
    (
        lambda s, here: s.query("SELECT 'x'::integer"),
        "sql: PostgreSQL cannot make that of a value (22P02): see what the query casts",
    ),
    (
        lambda s, here: check_statements(server_check, "", address="db.example.org"),
        "address: expected postgresql://host/database",
    ),
    (
        lambda s, here: Store.open(NOWHERE),
        (
            f"{NOWHERE}: cannot connect: connection to server on socket"
            ' "/nowhere/.s.PGSQL.5432" failed: No such file or directory'
            "; check the address, and whether the server is up"
        ),
    ),
]


@pytest.mark.parametrize(("act", "text"), REFUSALS, ids=[text[:40] for _, text in REFUSALS])
def test_an_error_says_what_where_and_what_to_do(
    act: Callable[[Any, str], object], text: str, address: str, store: cwstore.Store
) -> None:
    with pytest.raises(CwstoreError) as refused:
        act(store, address)
    assert str(refused.value) == text.replace("HERE", str(store.path))


def test_a_schema_without_tables_cannot_be_checked(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", f"{address}&schema=new"]) == 1
    assert capsys.readouterr().err == (
        f"cwstore: {address}&schema=new has no tables of cwstore yet; run `cwstore migrate` on it"
        " first\n"
    )
