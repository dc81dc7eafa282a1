"""Whether PostgreSQL takes statements, on the tables at an address. None is run."""

from collections.abc import Callable, Generator
from typing import Any

import psycopg

from cwstore._postgres.address import parse
from cwstore._postgres.connection import connect
from cwstore._postgres.statement_text import guarded_text_of, text_of
from cwstore.core.blocks import block
from cwstore.core.statement import Statement

_BUSY_TIMEOUT = 5.0  # seconds


@block
def prepared_at(address: str) -> Generator[Callable[[Statement[Any]], str | None]]:
    """A function that tells what is wrong with a statement; None: nothing. Raises StorageError."""
    connection = connect(parse(address), busy_timeout=_BUSY_TIMEOUT, read_only=True)

    def problem_of(statement: Statement[Any]) -> str | None:
        text = guarded_text_of if "RETURNING" in statement.text else text_of
        try:
            connection.execute(b"PREPARE statement AS " + text(statement), prepare=False)
            connection.execute("DEALLOCATE statement", prepare=False)
        except psycopg.Error as error:
            return error.diag.message_primary or str(error)
        return None

    try:
        yield problem_of
    finally:
        connection.close()
