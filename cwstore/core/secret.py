"""Text that no repr, log, dump or traceback shows."""

from typing import TYPE_CHECKING, Annotated, NamedTuple, cast, final

from cwstore.core import publish
from cwstore.core.faults import loading
from cwstore.errors import InvalidValueError, SecretError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic_core import CoreSchema

__all__ = ["Secret"]

_MASK = "**********"


@final
class Secret:
    """Text that only `reveal` shows.

    Its repr, str and format are the same for every secret, and JSON does not take it. A pickle
    leaves the text out: what comes back of it says so when it is asked, and cannot be stored. Two
    are equal if their texts are; how long that takes tells at most their length.
    """

    __slots__ = ("_read",)

    #: For `rule_of`: a column of this type is encoded where the store has a codec.
    value_marker = "sealed"

    def __init__(self, text: str) -> None:
        given = cast(object, text)
        if not isinstance(given, str):
            raise InvalidValueError("secret", f"expected str, got {type(given).__name__}")
        plain = str.__str__(given)  # of a subclass, too
        # In a closure: what walks over attributes and slots meets a function.
        self._read: Callable[[], str] = lambda: plain

    def reveal(self) -> str:
        """The text. Raises SecretError if a pickle has left it out."""
        if self._is_left_out():
            raise SecretError(
                "a secret was left out of a pickle; read the row again where it is needed"
            )
        return self._read()

    def _is_left_out(self) -> bool:
        return not hasattr(self, "_read")

    def __repr__(self) -> str:
        return f"Secret('{_MASK}')"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if self._is_left_out() or other._is_left_out():
            return self is other
        with loading("credentials"):
            from hmac import compare_digest  # brings hashlib

        return compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        # The same for all: a hash of the text would tell of it. Rows have an id to differ by.
        return hash(Secret)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __getstate__(self) -> None:
        """Nothing, for a pickle: what it makes is a secret without a text."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> "CoreSchema":
        """For pydantic: JSON that comes in is text, what goes out is the str of a secret."""
        del source, handler
        from pydantic_core import core_schema as schema

        text = schema.no_info_after_validator_function(cls, schema.str_schema())
        either = schema.union_schema([schema.is_instance_schema(cls), text])
        return schema.json_or_python_schema(
            text, either, serialization=schema.to_string_ser_schema()
        )


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode(errors="surrogatepass")


#: JSON that is a secret: a `Secret` in Python.
SecretJson = Annotated[Secret, "sealed json"]
#: JSON that is encoded at rest where the store has a codec, and a plain `str` in Python.
SealedJson = Annotated[str, "sealed json"]


class NoText(NamedTuple):
    """Stands for a value that is no text, and so cannot be a secret."""

    kind: str  #: the name of its type


def hide(value: object) -> Secret | NoText | None:
    """Text as a Secret; a Secret and None as they are.

    For what a method was given: `value = hide(value)`, so that no traceback which shows the
    variables of the method and of those that it calls shows the text.
    """
    if value is None or isinstance(value, Secret | NoText):
        return value
    return Secret(value) if isinstance(value, str) else NoText(type(value).__name__)


publish(globals())
