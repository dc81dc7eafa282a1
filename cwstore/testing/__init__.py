"""Help for tests: check statements, make values, and get a fresh store for each test.

    from cwstore.testing import check_statements

    def test_our_statements() -> None:
        check_statements(our_service, Path("sql/migrations")).expect_no_faults()

`cwstore.testing.strategies` has Hypothesis strategies for arguments, patches and entities. The
pytest plugin brings the fixtures `cwstore_store` and `cwstore_async_store`, each a copy of the
session's `cwstore_template`. Both come with the extra `cwstore[testing]`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore.testing.checker.check import check_statements
    from cwstore.testing.checker.report import Allowances, Fault, Line, Report

__all__ = ["Allowances", "Fault", "Line", "Report", "check_statements"]


def __getattr__(name: str) -> object:
    """Import a name on first use: pytest loads the plugin in every run of a service's tests."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.checker.check"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
