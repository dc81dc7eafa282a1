"""The checker and lists that are read a page at a time: planted faults."""

from pathlib import Path

import pytest

from tests.kits.checker import Service

_OLD = '''_BY_OWNER = _note(f"""
    SELECT {_COLUMNS} FROM notes WHERE owner_id = :owner_id ORDER BY created_at, id LIMIT :limit
""", limit=int)'''
_NEW = '''_BY_OWNER = lists_of(Note, _FIND)(f"""
    SELECT {_COLUMNS} FROM notes WHERE owner_id = :owner_id ORDER BY created_at, id
""")'''

_VIEW = (
    "CREATE VIEW seen AS SELECT id, owner_id, title, body, state, is_pinned, due_at, created_at,"
    " updated_at FROM notes WHERE state = 'open';\n"
)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Its notes of an owner are a list that can be paged."""
    service = Service(tmp_path)
    service.plant("Patch, rows_of, values_of", "Patch, lists_of, rows_of, values_of")
    service.plant(
        "command, patch_row\nfrom cwstore.core.checks", "command, fetch_page, patch_row\n"
        "from cwstore.core.checks",
    )  # fmt: skip
    service.plant(_OLD, _NEW)
    service.plant(
        "def by_owner(self, owner_id: str) -> list[Note]:\n"
        "        return self._db.fetch_all(_BY_OWNER, owner_id=owner_id, limit=9)",
        "def by_owner(self, owner_id: str, **page) -> list[Note]:\n"
        "        return fetch_page(self._db, _BY_OWNER, page, owner_id=owner_id)",
    )
    return service


def test_a_list_as_it_should_be_has_no_fault(service: Service) -> None:
    report = service.report()
    assert report.faults == ()
    (line,) = [line for line in report.lines if line.subject == "notes._BY_OWNER"]
    assert line.indexes == ("notes_owner_ix",)
    assert len(line.plan) == 3  # the whole and a page from an end, after a row, before a row


def test_a_page_that_sorts_or_scans_is_reported(service: Service) -> None:
    assert service.faults("(owner_id, created_at, id)", "(owner_id, id)") == [
        "notes._BY_OWNER: it sorts: USE TEMP B-TREE FOR ORDER BY [sort]"
    ]


def test_an_order_that_does_not_end_in_something_unique_is_reported(service: Service) -> None:
    service.plant("ON notes (owner_id, created_at, id)", "ON notes (owner_id, created_at)")
    assert service.faults("ORDER BY created_at, id\n", "ORDER BY owner_id, created_at\n")[0] == (
        "notes._BY_OWNER: created_at is not unique: of rows that are equal some would be left out"
        " [order]"
    )


def test_an_order_by_what_may_be_null_is_reported(service: Service) -> None:
    found = service.faults("ORDER BY created_at, id\n", "ORDER BY due_at, id\n")
    assert "notes._BY_OWNER: due_at may be NULL, and no page begins after NULL [order]" in found


def test_an_order_by_no_field_is_reported(service: Service) -> None:
    found = service.faults("ORDER BY created_at, id\n", "ORDER BY made_at, id\n")
    assert "notes._BY_OWNER: it is ordered by made_at: no field of Note [columns]" in found


def test_a_list_whose_rows_are_found_by_something_else_is_reported(service: Service) -> None:
    assert service.faults("lists_of(Note, _FIND)", "lists_of(Note, _CREATE)") == [
        "notes._BY_OWNER: the statement that finds a row of it takes :id and nothing else [order]"
    ]


def test_a_call_that_gives_other_binds_is_reported(service: Service) -> None:
    assert service.faults("page, owner_id=owner_id)", "page, owner=owner_id)") == [
        "notes._BY_OWNER: it has no bind :owner [binds]",
        "notes._BY_OWNER: its bind :owner_id is not given [binds]",
    ]


_RANK = "CASE {}state WHEN 'open' THEN 0 ELSE 1 END"


def test_a_list_by_rank_has_no_fault_but_that_it_sorts_a_page(service: Service) -> None:
    service.plant("(owner_id, created_at, id)", f"(owner_id, {_RANK.format('')}, id)")
    service.plant(
        "notes WHERE owner_id = :owner_id ORDER", "notes AS n WHERE owner_id = :owner_id ORDER"
    )
    found = service.faults("ORDER BY created_at, id\n", f"ORDER BY {_RANK.format('n.')}, n.id\n")
    assert found == ["notes._BY_OWNER: it sorts: USE TEMP B-TREE FOR ORDER BY [sort]"]


def test_a_list_of_a_view_is_as_unique_as_the_rows_that_it_finds(service: Service) -> None:
    service.plant("CREATE INDEX notes_owner_ix", _VIEW + "CREATE INDEX notes_owner_ix")
    assert (
        service.faults(
            "FROM notes WHERE owner_id = :owner_id ORDER",
            "FROM seen WHERE owner_id = :owner_id ORDER",
        )
        == []
    )
