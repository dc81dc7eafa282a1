"""Planted faults: scans, sorts, and indexes that are not needed or missing are reported."""

from pathlib import Path

import pytest

from cwstore import Extension
from cwstore.testing import check_statements
from tests.kits.checker import Service

AUTOMATIC = "SEARCH known USING AUTOMATIC COVERING INDEX (id=?)"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_a_full_scan_is_reported(service: Service) -> None:
    passage = "SELECT count(*) FROM notes WHERE owner_id = :owner_id"
    assert service.faults(
        passage,
        passage.replace("owner_id =", "title <>").replace(
            ":owner_id", ":owner_id AND is_pinned = 1"
        ),
    ) == ["notes._COUNT: it reads a whole table: SCAN notes [scan]"]


def test_a_table_without_a_key_is_scanned(service: Service) -> None:
    service.plant(
        "CREATE INDEX notes_owner_ix",
        "CREATE TABLE tags (owner_id TEXT) STRICT;\nCREATE INDEX notes_owner_ix",
    )
    assert service.faults(
        "SELECT count(*) FROM notes WHERE owner_id = :owner_id",
        "SELECT count(*) FROM tags WHERE owner_id = :owner_id",
    ) == ["notes._COUNT: it reads a whole table: SCAN tags [scan]"]


def test_a_full_scan_in_a_trigger_is_reported(service: Service) -> None:
    assert service.faults(
        "CREATE INDEX notes_due_ix",
        "CREATE TRIGGER notes_tg AFTER UPDATE ON notes BEGIN\n"
        "    DELETE FROM owners WHERE id IN (SELECT body FROM notes WHERE title = OLD.title);\n"
        "END;\n\nCREATE INDEX notes_due_ix",
    ) == [
        f"notes.{name}: it reads a whole table: SCAN notes [scan]" for name in ("_CLOSE", "_UPDATE")
    ]


def test_a_fault_that_shows_with_one_key_of_a_patch_only_is_reported(service: Service) -> None:
    assert service.faults(
        "CREATE INDEX notes_due_ix",
        "CREATE TRIGGER notes_tg AFTER UPDATE OF body ON notes BEGIN\n"
        "    DELETE FROM owners WHERE id IN (SELECT body FROM notes WHERE title = OLD.title);\n"
        "END;\n\nCREATE INDEX notes_due_ix",
    ) == ["notes._UPDATE: it reads a whole table: SCAN notes [scan]"]


def test_a_sort_is_reported(service: Service) -> None:
    assert service.faults("ORDER BY created_at, id LIMIT", "ORDER BY updated_at, id LIMIT") == [
        "notes._BY_OWNER: it sorts: USE TEMP B-TREE FOR ORDER BY [sort]"
    ]


def test_an_index_that_is_built_at_each_run_is_reported(service: Service) -> None:
    assert service.faults(
        "SELECT count(*) FROM notes WHERE owner_id = :owner_id",
        "WITH known (id) AS MATERIALIZED (SELECT value FROM json_each(:owner_id))"
        " SELECT count(*) FROM notes JOIN known ON known.id = title WHERE owner_id = :owner_id",
    ) == [f"notes._COUNT: it builds an index at each run: {AUTOMATIC} [scan]"]


def test_an_index_that_nobody_needs_is_reported(service: Service) -> None:
    index = "CREATE INDEX notes_due_ix"
    assert service.faults(index, f"CREATE INDEX notes_title_ix ON notes (title);\n{index}") == [
        "notes_title_ix: no statement uses it and no foreign key needs it [index]"
    ]
    assert service.report(whole=False).faults == ()


def test_of_an_extension_its_own_indexes_and_foreign_keys_are_checked(
    service: Service, tmp_path: Path
) -> None:
    service.source = service.source.replace(" notes", " desk_notes")
    notes = service.schema[service.schema.index("CREATE TABLE notes") :]
    script = tmp_path / "0001_notes.sql"
    script.write_text(notes.replace("notes", "desk_notes").replace("owners", "agents"))
    extension = Extension("desk", migrations=tmp_path)
    assert check_statements(service.module(), extension).faults == ()
    script.write_text(script.read_text().replace("(owner_id, created_at, id)", "(title)"))
    found = {one.subject for one in check_statements(service.module(), extension).faults}
    assert {"desk_notes.owner_id", "desk_notes_owner_ix"} <= found


def test_a_foreign_key_without_an_index_is_reported(service: Service) -> None:
    service.plant("CREATE INDEX notes_owner_ix ON notes (owner_id,", "CREATE INDEX x_ix ON notes (")
    faults = service.faults("    id TEXT NOT NULL PRIMARY KEY\n)", "    id TEXT PRIMARY KEY\n)")
    assert (
        "notes.owner_id: (owner_id) refers to owners without an index: deletes there scan"
        " [foreign-key]"
    ) in faults


def test_a_partial_index_serves_a_foreign_key_only_if_it_holds_every_reference(
    service: Service,
) -> None:
    service.plant("(owner_id, created_at, id);", "(owner_id, created_at, id) WHERE is_pinned = 1;")
    assert any("[foreign-key]" in str(one) for one in service.report().faults)


def test_an_interim_result_of_another_view_hides_no_scan(service: Service) -> None:
    service.plant(
        "CREATE INDEX notes_due_ix",
        "CREATE VIEW other AS WITH b AS (SELECT 1 AS x) SELECT x FROM b;\n"
        "CREATE INDEX notes_due_ix",
    )
    assert service.faults(
        "FROM notes WHERE owner_id = :owner_id\n",
        "FROM notes AS b WHERE title = :title AND :owner_id <> ''\n",
    ) == [
        "notes._COUNT: it reads a whole table: SCAN b [scan]",
        "notes._COUNT: its bind :title is not given [binds]",
    ]


def test_an_interim_result_hides_no_scan_of_a_table_with_its_name_as_alias(
    service: Service,
) -> None:
    query = "SELECT count(*) FROM notes AS b WHERE title = (SELECT owner_id FROM a)"
    faults = service.faults(
        "SELECT count(*) FROM notes WHERE owner_id = :owner_id",
        f"WITH b AS (SELECT :owner_id AS owner_id), a AS (SELECT owner_id FROM b) {query}",
    )
    assert faults == ["notes._COUNT: it reads a whole table: SCAN b [scan]"]


def test_an_interim_result_of_a_view_that_is_read_is_no_table(service: Service) -> None:
    service.plant(
        "CREATE INDEX notes_due_ix",
        "CREATE VIEW ones AS WITH RECURSIVE b (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM b"
        " WHERE x < 3) SELECT x FROM b;\nCREATE INDEX notes_due_ix",
    )
    assert (
        service.faults(
            "SELECT count(*) FROM notes WHERE owner_id = :owner_id",
            "SELECT count(*) FROM ones WHERE x <> length(:owner_id)",
        )
        == []
    )


def test_a_foreign_key_that_is_the_rowid_needs_no_index(service: Service) -> None:
    table = "CREATE TABLE numbered (id INTEGER PRIMARY KEY) STRICT;\n"
    child = "CREATE TABLE marks (id INTEGER PRIMARY KEY REFERENCES numbered (id)) STRICT;\n\n"
    index = "CREATE INDEX notes_due_ix"
    assert service.faults(index, table + child + index) == []
