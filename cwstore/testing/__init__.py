"""Help for tests: check statements, make values, and get a fresh store for each test.

    from cwstore.testing import check_statements

    def test_our_statements() -> None:
        check_statements(our_service, Path("sql/migrations")).expect_no_faults()

`cwstore.testing.strategies` has Hypothesis strategies for arguments and patches; the pytest plugin
brings the fixture `cwstore_store`. Both come with the extra `cwstore[testing]`.
"""

from cwstore.testing._check import check_statements
from cwstore.testing._report import Allowances, Fault, Line, Report

__all__ = ["Allowances", "Fault", "Line", "Report", "check_statements"]
