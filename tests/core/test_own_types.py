"""Types of columns that a service's own tables may have and ours do not: REAL and BLOB."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cwstore import Database
from cwstore.core import NonEmpty, Repository, Sync, command, query, rows_of, values_of
from cwstore.errors import InvalidValueError
from cwstore.testing import check_statements
from tests.core import test_own_types as this_module
from tests.kits.migrations import scripts

TABLE = """CREATE TABLE samples (
    id      TEXT  NOT NULL  PRIMARY KEY,
    weight  REAL  NOT NULL,
    length  REAL,
    image   BLOB,
    CONSTRAINT samples_id_ck CHECK (id <> '')
) STRICT;"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of `samples`."""

    id: NonEmpty
    weight: float
    length: float | None
    image: bytes | None


_sample = rows_of(Sample)
_INSERT = _sample("""
    INSERT INTO samples (id, weight, length, image)
    VALUES (:id, :weight, :length, :image)
    RETURNING id, weight, length, image
""")
_FIND = _sample("""
    SELECT id, weight, length, image
    FROM samples
    WHERE id = :id
""")
_WEIGHT = values_of(float, Sample)("""
    SELECT weight
    FROM samples
    WHERE id = :id
""")


class SampleRepository(Repository[Sync]):
    """Create and read samples."""

    @command
    def create(self, id: Any, weight: Any, length: Any = None, image: Any = None) -> Sample:
        """A new sample."""
        return self._db.insert(_INSERT, id=id, weight=weight, length=length, image=image)

    @query
    def find_by_id(self, id: str) -> Sample | None:
        """The sample, or None."""
        return self._db.fetch_one(_FIND, id=id)

    @query
    def weight_of(self, id: str) -> float | None:
        """Its weight, or None."""
        return self._db.fetch_one(_WEIGHT, id=id)


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[SampleRepository]:
    migrations = scripts(tmp_path, TABLE)
    with Database.open(tmp_path / "a.db", migrations=migrations, application_id=7) as database:
        yield database.repository(SampleRepository)


@pytest.mark.parametrize(
    ("weight", "length", "image"),
    [(0.1, -1e308, b"\0\xff"), (5e-324, None, b""), (3, 2**70, bytearray(b"x")), (-0.0, 1, None)],
)
def test_floats_and_bytes_come_back_equal(
    samples: SampleRepository, weight: Any, length: Any, image: Any
) -> None:
    made = samples.create("s", weight, length, image)
    assert made == Sample("s", weight, length, image)
    assert samples.find_by_id("s") == made
    assert samples.weight_of("s") == weight
    assert [type(value) for value in (made.weight, made.length, made.image)] == [
        float,
        type(None) if length is None else float,
        type(None) if image is None else bytes,
    ]


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        ({"weight": float("nan")}, "weight", "must be a finite number"),
        ({"weight": float("inf")}, "weight", "must be a finite number"),
        ({"weight": 10**400}, "weight", "must be a finite number"),
        ({"weight": True}, "weight", "expected float, got bool"),
        ({"weight": "1"}, "weight", "expected float, got str"),
        ({"weight": None}, "weight", "expected float, got NoneType"),
        ({"weight": 1.0, "image": "text"}, "image", "expected bytes, got str"),
    ],
)
def test_what_no_such_column_holds_is_refused(
    samples: SampleRepository, given: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        samples.create("s", **given)
    assert (refusal.value.field, str(refusal.value)) == (field, f"{field}: {problem}")
    assert samples.find_by_id("s") is None


def test_the_checker_knows_these_types(tmp_path: Path) -> None:
    report = check_statements(this_module, scripts(tmp_path, TABLE), whole=False)
    report.expect_no_faults()


def test_a_field_of_another_type_says_what_may_be() -> None:
    @dataclass(frozen=True, slots=True)
    class Tagged:
        id: str
        tags: list[str]

    statement = rows_of(Tagged)("SELECT id, tags FROM things")
    with pytest.raises(
        TypeError,
        match=(
            r"no column holds list\[str\]: the field of a row is str, int, float, bool, bytes,"
            " datetime or a StrEnum, and maybe None$"
        ),
    ):
        statement.map([("a", "b")])
