"""A database whose secrets are encoded at rest: what repositories get of a store with a codec."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cwstore.core.checks import check_secret
from cwstore.core.faults import not_json
from cwstore.core.sealing import SecretCodec, seal
from cwstore.core.secret import Secret
from cwstore.core.statement import Statement

if TYPE_CHECKING:
    from cwstore.core.port import Database

T = TypeVar("T")


class _Text(NamedTuple):
    text: Secret


# The database decides what JSON is, as it does for a store without a codec.
_IS_JSON: Statement[int] = Statement("SELECT json_valid(:text)", _Text, int, {})


class _Sealed(NamedTuple):
    statement: Statement[Any]  #: that decodes
    fields: dict[str, bool]  #: the binds to encode, and whether each is JSON


class SealedDatabase:
    """Encodes what is bound to a sealed column and decodes the rows; the rest is the engine's.

    The engine maps the rows of a write before it commits. So a write to a row that the codec cannot
    decode changes nothing.
    """

    def __init__(self, db: "Database", codec: SecretCodec) -> None:
        self._db = db
        self._codec = codec
        self._made: dict[Statement[Any], _Sealed] = {}  # by the plain statement

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.fetch_one(sealed, **values)

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.look(sealed, **values)

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.fetch_all(sealed, **values)

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.insert(sealed, **values)

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.write_one(sealed, **values)

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.write_all(sealed, **values)

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        """See `core.port`."""
        sealed = [self._seal(statement, row)[1] for row in rows]
        self._db.insert_many(statement, sealed)

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.execute(sealed, **values)

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.update_one(sealed, values)

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        """See `core.port`."""
        sealed, values = self._seal(statement, binds)
        return self._db.write_with(sealed, values, link, [self._seal(*other) for other in others])

    def transaction(self) -> AbstractContextManager[None]:
        """See `core.port`."""
        return self._db.transaction()

    def in_transaction(self) -> bool:
        """See `core.port`."""
        return self._db.in_transaction()

    def state_token(self) -> object:
        """See `core.port`."""
        return self._db.state_token()

    def vacuum(self) -> None:
        """See `core.port`."""
        self._db.vacuum()

    # Sealing

    def _seal(
        self, statement: Statement[T], binds: Mapping[str, Any]
    ) -> tuple[Statement[T], dict[str, Any]]:
        """The statement that decodes its rows, and the binds, those of sealed columns encoded."""
        made = self._made.get(statement)
        if made is None:
            rules = statement.rules()
            made = self._made[statement] = _Sealed(
                Statement(
                    statement.text,
                    statement.entity,
                    statement.scalar,
                    statement.extra,
                    self._codec,
                ),
                {name: rule.is_json for name, rule in rules.items() if rule.is_sealed},
            )
        values = dict(binds)
        for field, is_json in made.fields.items():
            if values[field] is not None:
                values[field] = self._seal_value(field, values[field], is_json)
        return made.statement, values

    def _seal_value(self, field: str, given: object, is_json: bool) -> Secret:
        secret = check_secret(field, given)
        if is_json and not self._db.fetch_one(_IS_JSON, text=secret):
            raise not_json(field, secret.reveal())
        return seal(field, secret, self._codec)
