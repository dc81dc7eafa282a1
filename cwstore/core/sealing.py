"""How a secret lies in a column: encoded by the store's codec, in an envelope that is JSON.

    {"cwstore:sealed": "what the codec made of it"}

A text without an envelope was written by a store without a codec. It is read as it is, and encoded
when it is written the next time.
"""

from collections.abc import Callable
from typing import Protocol, cast

from cwstore.core import publish
from cwstore.core.faults import loading
from cwstore.core.secret import Secret
from cwstore.errors import InvalidValueError, SecretError

__all__ = ["SecretCodec"]

#: What an encoded secret begins with.
ENVELOPE = '{"cwstore:sealed":'


class SecretCodec(Protocol):
    """Encodes secrets before they are stored, and decodes them when they are read.

    `decode(encode(text))` is `text`. Whatever a method raises becomes a SecretError that names the
    kind of error and nothing else. It is called while transactions are open, from any thread.

    To change keys, let `encode` use the newest and `decode` know all of them; `update` each account
    with its own values, and the old key is not needed any more.
    """

    def encode(self, text: str, /) -> str:
        """What to store for the text."""
        ...

    def decode(self, text: str, /) -> str:
        """The text of which `encode` has made this; raises if another key has."""
        ...


def check_codec(codec: object) -> None:
    """Raise InvalidValueError unless it has the methods of a codec."""
    if all(callable(getattr(codec, name, None)) for name in ("encode", "decode")):
        return
    raise InvalidValueError(
        "secrets",
        f"expected an object with encode(str) -> str and decode(str) -> str, got"
        f" {type(codec).__name__}",
    )


def is_sealed(text: str) -> bool:
    """Whether a stored text is an envelope."""
    return text[: len(ENVELOPE)] == ENVELOPE


def seal(field: str, secret: Secret, codec: SecretCodec) -> Secret:
    """The envelope of a secret. Raises SecretError."""
    with loading("credentials"):
        from json import dumps

    encoded, problem = _run(codec.encode, secret.reveal)
    if problem:
        raise SecretError(
            f"{field} cannot be encoded by the codec of this store: {problem}", field=field
        )
    return Secret(f"{ENVELOPE}{dumps(encoded)}}}")


def unsealer(entity: type, codec: SecretCodec | None) -> Callable[[str, str, str], str]:
    """A function of field, stored text and id that returns the text; it raises SecretError."""

    def unseal(field: str, stored: str, id: str) -> str:
        if not is_sealed(stored):
            return stored
        where = f"{entity.__name__} {id!r}: {field}"
        if codec is None:
            raise SecretError(
                f"{where} is encoded; open the store with the codec that it was written with"
                " (secrets=...)",
                field=field,
                id=id,
            )
        text, problem = _run(codec.decode, lambda: _content(stored))
        if problem:
            raise SecretError(
                f"{where} cannot be decoded by the codec of this store: {problem}; open it with the"
                " key that it was written with, or delete the row if that is lost",
                field=field,
                id=id,
            )
        return text

    return unseal


def _content(stored: str) -> str:
    with loading("credentials"):
        from json import loads

    return cast(str, loads(stored)["cwstore:sealed"])


def _run(function: Callable[[str], object], read: Callable[[], str]) -> tuple[str, str]:
    """The text that a method of a codec returns; or "", and why it returned none.

    The error itself is dropped: its message, its chain or the variables of its frames may hold the
    secret.
    """
    try:
        made = function(read())
    except Exception as error:  # a codec may raise what it likes
        return "", f"it raised {type(error).__name__}"
    return (
        (made, "") if isinstance(made, str) else ("", f"it returned {type(made).__name__}, not str")
    )


publish(globals())
