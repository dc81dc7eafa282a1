"""Two stores on one file against a plain model, with all methods in any order."""

import ast
import faulthandler
import inspect
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cwstore.entities.registry import ENTITIES, repository_class
from tests.engine.model import machine
from tests.engine.model.data import INTERNAL, TABLES
from tests.engine.model.history import History
from tests.engine.model.people import People
from tests.engine.model.plan import planned
from tests.engine.model.reading import Reading
from tests.engine.model.work import Work
from tests.kits.database import raw


class WholeStore(Work, People, History, Reading):
    """All fourteen repositories, transactions at depth, time that goes back, reopening."""


def public_methods() -> set[tuple[str, str]]:
    """Of every repository, as they are now."""
    return {
        (name, method)
        for name in ENTITIES
        for method, _ in inspect.getmembers(repository_class(name), inspect.isfunction)
        if not method.startswith("_")
    }


def methods_named_by_rules() -> set[tuple[str, str]]:
    """Each `store.tasks.claim` in a rule, or in what a rule calls."""
    kinds = {kind.__name__ for kind in WholeStore.__mro__}
    return {
        (node.value.attr, node.attr)
        for file in Path(machine.__file__).parent.glob("*.py")
        for body in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(body, ast.ClassDef) and body.name in kinds
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)
    }


#: On a server each step takes as long as ten in a file.
EXAMPLES = {"sqlite": 60, "postgresql": 20}


@pytest.mark.parametrize("share", [0.3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_whole_store_does_what_the_model_does(
    engine: str, migrated_here: Path, share: float
) -> None:
    # A bug that is found is made small before it is shown, for longer than the watchdog allows
    # (pyproject.toml): that would end the process, and the example be lost.
    faulthandler.cancel_dump_traceback_later()
    profile = settings()
    run_state_machine_as_test(
        type("Here", (WholeStore,), {"migrated": migrated_here}),
        settings=settings(
            max_examples=int(share * max(EXAMPLES[engine], profile.max_examples)),
            stateful_step_count=max(50, profile.stateful_step_count),
            # What explaining adds is not worth the minutes that it takes with 50 steps.
            phases=[phase for phase in profile.phases if phase is not Phase.explain],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_every_method_of_every_repository_is_called_by_a_rule() -> None:
    assert public_methods() - methods_named_by_rules() == set()


def test_the_model_knows_every_table(migrated: Path) -> None:
    with raw(planned(migrated)[0]) as database:
        names = database.tables()
    assert names == {*TABLES, *INTERNAL, "schema_migrations", "sqlite_sequence"}
