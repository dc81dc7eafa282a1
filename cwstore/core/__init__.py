"""What repositories are made of, for services with tables and statements of their own.

    from cwstore.core import Database, Mode, Repository, command, query, rows_of

    class WishRepository(Repository[Mode]):
        @query
        def find_by_id(self, id: str) -> Wish | None:
            return self._db.fetch_one(_FIND_BY_ID, id=id)

    with Database.open("wishes.db", migrations="migrations", application_id=0x57495348) as db:
        wishes = db.repository(WishRepository)

Nothing here knows a driver or a table. Names are imported when they are first used.
"""

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from cwstore.core.changes import Change as Change
    from cwstore.core.changes import ChangeFeed as ChangeFeed
    from cwstore.core.checks import Json as Json
    from cwstore.core.checks import NonEmpty as NonEmpty
    from cwstore.core.database import Database as Database
    from cwstore.core.extension import Extension as Extension
    from cwstore.core.health_report import HealthReport as HealthReport
    from cwstore.core.ids import make_id as make_id
    from cwstore.core.observed import StatementRun as StatementRun
    from cwstore.core.reports import CheckReport as CheckReport
    from cwstore.core.reports import ImportReport as ImportReport
    from cwstore.core.reports import Progress as Progress
    from cwstore.core.reports import RestoreReport as RestoreReport
    from cwstore.core.reports import StoreStats as StoreStats
    from cwstore.core.repository import Async as Async
    from cwstore.core.repository import Mode as Mode
    from cwstore.core.repository import Repository as Repository
    from cwstore.core.repository import Sync as Sync
    from cwstore.core.repository import command as command
    from cwstore.core.repository import fetch_page as fetch_page
    from cwstore.core.repository import lengthy as lengthy
    from cwstore.core.repository import patch_row as patch_row
    from cwstore.core.repository import query as query
    from cwstore.core.repository import row_or_raise as row_or_raise
    from cwstore.core.repository import stream as stream
    from cwstore.core.sealing import SecretCodec as SecretCodec
    from cwstore.core.statement import NEXT_UPDATED_AT as NEXT_UPDATED_AT
    from cwstore.core.statement import Listing as Listing
    from cwstore.core.statement import Paging as Paging
    from cwstore.core.statement import Patch as Patch
    from cwstore.core.statement import Statement as Statement
    from cwstore.core.statement import lists_of as lists_of
    from cwstore.core.statement import rows_of as rows_of
    from cwstore.core.statement import values_of as values_of

Kind = TypeVar("Kind", bound="Callable[..., Any]")  # classes are called, too

_MODULES = {
    "checks": "Json NonEmpty",
    "database": "Database",
    "extension": "Extension",
    "ids": "make_id",
    "repository": (
        "Async Mode Repository Sync command fetch_page lengthy patch_row query row_or_raise stream"
    ),
    "statement": "Listing NEXT_UPDATED_AT Paging Patch Statement lists_of rows_of values_of",
    # In annotations as text: `get_type_hints` finds them here, and opening a store does not pay.
    "changes": "Change ChangeFeed",
    "observed": "StatementRun",
    "health_report": "HealthReport",
    "reports": "CheckReport ImportReport Progress RestoreReport StoreStats",
    "sealing": "SecretCodec",
}

__all__ = [
    "NEXT_UPDATED_AT",
    "Async",
    "Database",
    "Extension",
    "Json",
    "Listing",
    "Mode",
    "NonEmpty",
    "Paging",
    "Patch",
    "Repository",
    "Statement",
    "Sync",
    "command",
    "fetch_page",
    "lengthy",
    "lists_of",
    "make_id",
    "patch_row",
    "query",
    "row_or_raise",
    "rows_of",
    "stream",
    "values_of",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    for module, names in _MODULES.items():
        if name in names.split():
            value: object = getattr(import_module(f"cwstore.core.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def publish(module: dict[str, Any]) -> None:
    """Let the classes in a module's `__all__` name `cwstore` as theirs: in repr, help and pickles.

    `module` is its globals. Annotations that are written as text cannot be read afterwards.
    """
    for name in module["__all__"]:
        public(module[name])


def _typed_dict_schema(kind: type[Any], source: object, handler: Any) -> Any:
    from cwstore.core.bodies import typed_dict_schema

    return typed_dict_schema(kind, source, handler)


def public(kind: Kind) -> Kind:
    """As `publish`, for one class or function.

    `inspect.getsource` looks for a class in the file of the module that it names, and finds none.
    Since Python 3.13 it trusts the line that the class knows, and would show other lines of that
    file: so the class forgets its line. Sources of methods are found.
    """
    kind.__module__ = "cwstore"
    if hasattr(kind, "__total__"):
        setattr(kind, "__get_pydantic_core_schema__", classmethod(_typed_dict_schema))  # noqa: B010
    named: object = kind
    if isinstance(named, type):
        with suppress(AttributeError):  # an older Python
            type.__delattr__(named, "__firstlineno__")
    return kind
