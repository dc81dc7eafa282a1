"""Planted faults: scans, sorts, and indexes that are not needed or missing are reported."""

from pathlib import Path

import pytest

from tests.checker_kit import Service

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
