"""Typed repositories over one SQLite file, or PostgreSQL: the data store of Codewalkers.

Begin with `Store.open(path)`, or `await AsyncStore.open(path)`. A store has repositories: `tasks`,
`agents`, `log_chunks` and so on, whose methods return frozen rows. `transaction()` makes several
calls one. `migrate`, `status` and `rehearse` look after files, `restore` puts a backup back, and
`cwstore.core` has what tables and statements of your own need. All errors are `CwstoreError`.

Names are imported when they are first used, so that opening a store costs only what it needs.
(PYTEST_DONT_REWRITE: pytest would complain where cwstore is imported before it.)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore.aio.database import AsyncDatabase as AsyncDatabase
    from cwstore.aio.listener import AsyncChangeFeed as AsyncChangeFeed
    from cwstore.aio.store import AsyncStore as AsyncStore
    from cwstore.core.changes import *
    from cwstore.core.database import Database as Database
    from cwstore.core.extension import Extension as Extension
    from cwstore.core.health_report import *
    from cwstore.core.observed import *
    from cwstore.core.reports import *
    from cwstore.core.repository import Async as Async
    from cwstore.core.repository import Sync as Sync
    from cwstore.core.sealing import *
    from cwstore.core.secret import *
    from cwstore.entities.accounts import *
    from cwstore.entities.agents import *
    from cwstore.entities.change_sets import *
    from cwstore.entities.chat_sessions import *
    from cwstore.entities.claims import *
    from cwstore.entities.conversations import *
    from cwstore.entities.initiatives import *
    from cwstore.entities.log_chunks import *
    from cwstore.entities.messages import *
    from cwstore.entities.obstacles import *
    from cwstore.entities.pages import *
    from cwstore.entities.phases import *
    from cwstore.entities.plan_check import *
    from cwstore.entities.projects import *
    from cwstore.entities.proposals import *
    from cwstore.entities.review_comments import *
    from cwstore.entities.task import *
    from cwstore.entities.tasks import *
    from cwstore.errors import *
    from cwstore.migrations.api import migrate as migrate
    from cwstore.migrations.api import rehearse as rehearse
    from cwstore.migrations.api import status as status
    from cwstore.store import Store as Store
    from cwstore.store import restore as restore

else:

    def _module_of_each():
        from cwstore.entities.registry import ENTITIES, SHARED

        entities = {f"entities.{name}": names for name, names in (ENTITIES | SHARED).items()}
        modules = _MODULES | entities
        return {name: module for module, names in modules.items() for name in names.split()}

    def __getattr__(name):
        """Import a public name on first use."""
        module_of = _module_of_each()
        if name == "__all__":
            value = [*module_of, "__version__"]
        elif name in module_of:
            value = getattr(import_module(f"{__name__}.{module_of[name]}"), name)
        elif name in _ROOMS:
            value = import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return sorted(__getattr__("__all__"))


__version__ = "0.1.0"

# Public modules that type checkers see here: `except cwstore.errors.BusyError`.
_ROOMS = ("aio", "core", "errors")

# The public names by module; those of the entities are in their registry.
_MODULES = {
    "store": "Store restore",
    "aio.database": "AsyncDatabase",
    "aio.listener": "AsyncChangeFeed",
    "aio.store": "AsyncStore",
    "core.database": "Database",
    "core.extension": "Extension",
    "core.repository": "Async Sync",
    "migrations.api": "migrate rehearse status",
    "core.reports": (
        "CheckReport ExtensionStatus ImportReport MigrationReport MigrationStatus "
        "Progress "
        "ReaderStats RehearsalReport RestoreReport Step StoreStats TableStats"
    ),
    "core.health_report": "HealthReport",
    "core.changes": "Change ChangeFeed ChangeOperation",
    "core.observed": "StatementRun",
    "core.sealing": "SecretCodec",
    "core.secret": "Secret",
    "errors": (
        "BusyError ConflictError ConflictReason CorruptDatabaseError CwstoreError CycleError "
        "ForeignDatabaseError InvalidValueError MigrationError MissingReferenceError "
        "NotFoundError OutcomeUnknownError SchemaTooNewError SecretError "
        "StorageError StoreClosedError"
    ),
}
