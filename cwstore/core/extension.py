"""Tables of a service's own in the file of a store."""

import os
import re
from dataclasses import dataclass
from typing import cast

from cwstore.core import public
from cwstore.core.checks import check_directory
from cwstore.errors import InvalidValueError

_NAME = r"[a-z][a-z0-9]{0,29}"


@public
@dataclass(frozen=True, slots=True)
class Extension:
    """Tables that a service brings into the file of a store: `Store.open(path, extensions=[…])`.

    Whatever its scripts make is named `<name>_…`. They may refer to the store's tables by foreign
    keys, and may not change them. They have a ledger of their own, and are versioned, backed up,
    guarded, checked and reported as the store's own. A store that is opened without the extension
    works on the file as well.
    """

    name: str  #: letters and digits, as in "billing"
    migrations: str | os.PathLike[str]  #: the directory with 0001_<name>.sql and on

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.name), str) or not re.fullmatch(_NAME, self.name):
            raise InvalidValueError(
                "name", f"{self.name!r}: an extension is named by a to z and 0 to 9, at most 30"
            )
        check_directory("migrations", self.migrations)


def check_extensions(extensions: object) -> tuple[Extension, ...]:
    """Raise InvalidValueError unless they are several extensions of different names."""
    if not isinstance(extensions, tuple | list):
        raise InvalidValueError(
            "extensions", f"expected a list of Extension, got {type(extensions).__name__}"
        )
    found: list[Extension] = []
    for one in cast("list[object]", extensions):
        if not isinstance(one, Extension):
            raise InvalidValueError("extensions", f"expected Extension, got {type(one).__name__}")
        if any(other.name == one.name for other in found):
            raise InvalidValueError("extensions", f"{one.name} is named twice")
        found.append(one)
    return tuple(found)
